//! A connection that is made anew when it is gone, and the channels on it.
//!
//! The client could recover connections by itself, but not channels, which the server closes for many reasons (a missing
//! queue, an acknowledgement that took too long). One way for both is what is exercised here, and what failed is told.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::tcp::OwnedTLSConfig;
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties, ErrorKind, Event};

use super::config::RabbitmqConfig;
use super::trouble;
use crate::ports::QueueError;

/// How long one node is tried.
const PATIENCE: Duration = Duration::from_secs(5);
/// In seconds: a peer is given up after two of them without a sign.
const HEARTBEAT: u16 = 10;

/// One connection to the server, for taking or for sending: the server stops reading from connections that send when it
/// runs out of memory or disk, and acknowledgements must pass even then.
pub(super) struct Link {
    nodes: Vec<AMQPUri>,
    ca: Option<PathBuf>,
    /// For messages to people: where it leads, without secrets.
    pub place: String,
    /// What the server shows of it.
    name: String,
    /// Held by whoever connects; the others wait for the same attempt.
    connection: tokio::sync::Mutex<Option<Connection>>,
    /// Why the server takes nothing at the moment.
    blocked: Arc<Mutex<Option<String>>>,
}

impl Link {
    /// # Errors
    /// What is wrong with the address.
    pub fn new(config: &RabbitmqConfig, password: Option<&str>, purpose: &str) -> Result<Self, String> {
        let node = |url: &str| -> Result<AMQPUri, String> {
            // the error repeats the URL, which may hold a password
            let mut node: AMQPUri = url.parse().map_err(|_| format!("url: {} cannot be read", config.url))?;
            if let (Some(username), Some(password)) = (&config.username, password) {
                node.authority.userinfo.username.clone_from(username);
                node.authority.userinfo.password = password.to_owned();
            }
            node.query.heartbeat.get_or_insert(HEARTBEAT);
            Ok(node)
        };
        let nodes = config.url.urls().map(node).collect::<Result<Vec<_>, _>>()?;
        Ok(Link {
            nodes,
            ca: config.ca.clone(),
            place: config.url.to_string(),
            name: format!("windlass {purpose}"),
            connection: tokio::sync::Mutex::default(),
            blocked: Arc::default(),
        })
    }

    /// A new channel, on a new connection when there is none.
    ///
    /// # Errors
    /// A sentence about why there is no connection.
    pub async fn channel(&self) -> Result<Channel, QueueError> {
        let mut connection = self.connection.lock().await;
        if let Some(known) = connection.as_ref().filter(|known| known.status().connected()) {
            match tokio::time::timeout(PATIENCE, known.create_channel()).await {
                Ok(Ok(channel)) => return Ok(channel),
                Ok(Err(error)) if matches!(error.kind(), ErrorKind::ChannelsLimitReached) => {
                    return Err(QueueError::Unavailable(format!("{}: raise channel_max on the server: {error}", self.place)));
                }
                Ok(Err(error)) => tracing::debug!("a connection to {} is of no use any more: {error}", self.place),
                Err(_) => tracing::debug!("a connection to {} does not answer", self.place),
            }
        }
        *connection = None;
        let made = self.connect().await?;
        let channel = tokio::time::timeout(PATIENCE, made.create_channel()).await;
        *connection = Some(made);
        drop(connection);
        match channel {
            Ok(channel) => channel.map_err(|error| trouble::connecting(&self.place, &error)),
            Err(_) => Err(self.silent()),
        }
    }

    /// Why nothing that is sent would be taken now.
    pub fn blocked(&self) -> Option<String> {
        self.blocked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub async fn close(&self) {
        if let Some(connection) = self.connection.lock().await.take() {
            let _gone_already = tokio::time::timeout(PATIENCE, connection.close(200, "bye".into())).await;
        }
    }

    fn silent(&self) -> QueueError {
        QueueError::Unavailable(format!("cannot connect to {}: it does not answer within {PATIENCE:?}", self.place))
    }

    async fn connect(&self) -> Result<Connection, QueueError> {
        let mut last = self.silent();
        for node in &self.nodes {
            let properties = ConnectionProperties::default().with_connection_name(self.name.as_str().into());
            let tls = self.tls()?;
            let runtime = lapin::runtime::default_runtime().map_err(|error| trouble::connecting(&self.place, &error))?;
            let connect = Connection::connect_uri_with_config(node.clone(), properties, tls, runtime);
            match tokio::time::timeout(PATIENCE, connect).await {
                Ok(Ok(connection)) => {
                    self.listen(&connection);
                    return Ok(connection);
                }
                Ok(Err(error)) => last = trouble::connecting(&self.place, &error),
                Err(_) => last = self.silent(),
            }
        }
        Err(last)
    }

    fn tls(&self) -> Result<OwnedTLSConfig, QueueError> {
        let Some(ca) = &self.ca else { return Ok(OwnedTLSConfig::default()) };
        let chain =
            std::fs::read_to_string(ca).map_err(|error| QueueError::Unavailable(format!("ca: {}: {error}", ca.display())))?;
        Ok(OwnedTLSConfig { identity: None, cert_chain: Some(chain) })
    }

    /// Notes when the server takes nothing, and says so.
    fn listen(&self, connection: &Connection) {
        let (mut events, blocked, place) = (connection.events_listener(), self.blocked.clone(), self.place.clone());
        let note = |blocked: &Mutex<Option<String>>, why| *blocked.lock().unwrap_or_else(PoisonError::into_inner) = why;
        note(&blocked, None);
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                match event {
                    Event::ConnectionBlocked(why) => {
                        tracing::warn!("{place} takes no messages until it has room again: {why}");
                        note(&blocked, Some(why));
                    }
                    Event::ConnectionUnblocked => {
                        tracing::info!("{place} takes messages again");
                        note(&blocked, None);
                    }
                    Event::Error(_) => return note(&blocked, None),
                    _ => {}
                }
            }
        });
    }
}
