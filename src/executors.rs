//! The executor kinds. Each has a folder; no kind knows another. Those with clients of their own are cargo features named like
//! their folders; their blocks of the config are read in every build.

pub mod command;
pub mod drive;
#[cfg(test)]
mod fixtures;
pub mod hosts;
pub mod limits;
mod lines;
mod output;
pub mod payload;
mod places;
pub mod process;
pub mod python;
mod template;

#[cfg(feature = "http")]
pub mod http;
#[cfg(not(feature = "http"))]
pub mod http {
    //! Left out of this build, but for its block of the config.
    pub mod config;
}

#[cfg(feature = "lambda")]
pub mod lambda;
#[cfg(not(feature = "lambda"))]
pub mod lambda {
    //! Left out of this build, but for its block of the config.
    pub mod config;
}

/// Whether this build can run jobs on a kind, by the key inside the braces.
#[must_use]
pub fn built(kind: &str) -> bool {
    match kind {
        "http" => cfg!(feature = "http"),
        "lambda" => cfg!(feature = "lambda"),
        _ => true,
    }
}
