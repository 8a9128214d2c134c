//! How clients of AWS are set up: region, profile, role, address, and no retry behind our back.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::pool::{Client, ConnectionPool};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;

/// A connection on which nothing moves is tested so often: networks forget idle ones, and a call may take a quarter of an hour.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Whose calls these are, and where they go; what is absent is as the environment and the files of the AWS command line say.
#[derive(Clone, Default)]
pub struct Account<'a> {
    pub region: Option<&'a str>,
    pub profile: Option<&'a str>,
    /// The ARN of a role to take on.
    pub role: Option<&'a str>,
    /// In the place of those that are found otherwise.
    pub credentials: Option<Credentials>,
    /// An address in the place of the service's own.
    pub endpoint: Option<&'a str>,
}

/// What clients are made from. A call is sent once.
///
/// # Errors
/// When there is no client for HTTP: a mistake of the program.
pub async fn load(account: Account<'_>, connect: Duration) -> Result<SdkConfig, String> {
    let pool = ConnectionPool::builder().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).tcp_keepalive(KEEP_ALIVE);
    let pool = pool.build_https().map_err(|error| format!("no client for HTTP: {error}"))?;
    let client = Client::new(&pool).map_err(|error| format!("no client for HTTP: {error}"))?;
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(client)
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().connect_timeout(connect).build())
        // a function that computes for minutes sends nothing meanwhile
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    if let Some(region) = account.region {
        loader = loader.region(Region::new(region.to_owned()));
    }
    if let Some(profile) = account.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(credentials) = account.credentials {
        loader = loader.credentials_provider(credentials);
    }
    let shared = loader.load().await;
    let mut builder = shared.to_builder();
    if let Some(role) = account.role {
        let role = AssumeRoleProvider::builder(role).session_name("windlass").configure(&shared).build().await;
        builder = builder.credentials_provider(SharedCredentialsProvider::new(role));
    }
    if let Some(endpoint) = account.endpoint {
        builder = builder.endpoint_url(endpoint);
    }
    Ok(builder.build())
}
