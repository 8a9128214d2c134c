//! Temporary.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a bench fails by panicking")]
#[path = "embedded/engine.rs"]
mod engine;
#[global_allocator]
static A: mimalloc::MiMalloc = mimalloc::MiMalloc;
fn main() {
    let rt = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let n: u64 = std::env::var("N").ok().and_then(|s| s.parse().ok()).unwrap_or(200_000);
    let b: u64 = std::env::var("B").ok().and_then(|s| s.parse().ok()).unwrap_or(0);
    for _ in 0..3 {
        let d = tempfile::tempdir_in("target").unwrap();
        println!("{:.0} jobs/s", rt.block_on(engine::run(d.path(), n, b, 256, 512)));
    }
}
