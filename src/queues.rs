//! The queue kinds. Each has a folder; no kind knows another. Those with clients of their own are cargo features named like
//! their folders; their blocks of the config are read in every build.

#[cfg(any(feature = "rabbitmq", feature = "sqs"))]
mod carried;
pub mod embedded;
#[cfg(any(feature = "kafka", feature = "rabbitmq"))]
pub mod letters;
pub mod memory;

#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(not(feature = "kafka"))]
pub mod kafka {
    //! Left out of this build, but for its block of the config.
    pub mod config;
}

#[cfg(feature = "rabbitmq")]
pub mod rabbitmq;
#[cfg(not(feature = "rabbitmq"))]
pub mod rabbitmq {
    //! Left out of this build, but for its block of the config.
    pub mod config;
}

#[cfg(feature = "sqs")]
pub mod sqs;
#[cfg(not(feature = "sqs"))]
pub mod sqs {
    //! Left out of this build, but for its block of the config.
    pub mod config;
}

/// Whether this build can open queues of a kind, by the key inside the braces.
#[must_use]
pub fn built(kind: &str) -> bool {
    match kind {
        "kafka" => cfg!(feature = "kafka"),
        "rabbitmq" => cfg!(feature = "rabbitmq"),
        "sqs" => cfg!(feature = "sqs"),
        _ => true,
    }
}
