//! The files of the demo, carried in the binary and laid out in a folder of its own.

use std::fs;
use std::io;
use std::path::Path;

macro_rules! shipped {
    ($($path:literal),* $(,)?) => { [$(($path, include_str!(concat!("../../../demo/", $path)))),*] };
}

const FILES: [(&str, &str); 11] = shipped![
    "windlass.yaml",
    "plugins/tables.py",
    "plugins/texts.py",
    "plugins/checksum.sh",
    "plugins/invoices.py",
    "data/orders-1.csv",
    "data/orders-2.csv",
    "data/orders-3.csv",
    "data/windlass.txt",
    "data/queue.txt",
    "data/retry.txt",
];

/// Lays the files out; the folder must be new or empty, so that nothing of anybody's is overwritten.
pub(super) fn unpack(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    if fs::read_dir(directory)?.next().is_some() {
        return Err(io::Error::other("not empty: name a new folder with --directory"));
    }
    for (path, text) in FILES {
        let path = directory.join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, text)?;
    }
    fs::write(directory.join("fault"), "While this file is here, some invoices cannot be rendered.\n")
}
