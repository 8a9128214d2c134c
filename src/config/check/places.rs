//! Addresses, files and variables that a config names: outside the file, looked at but not touched.

use std::path::Path;

use super::Inspection;
use crate::config::queue::{Decode, QueueKind, Raw};
use crate::config::state::State;
use crate::queues;
use crate::secret::Secret;
use crate::telemetry::logs;

impl Inspection<'_> {
    pub(super) fn places(&mut self) {
        self.addresses();
        if let Some(why) = self.config.api.token.as_ref().and_then(|token| self.unreadable(token)) {
            self.warn(&["api", "token"], why, "it must be there when the worker starts");
        }
        if let Err(why) = logs::filter(&self.config.telemetry.level) {
            self.error(&["telemetry", "level"], why, "");
        }
        for (name, queue) in &self.config.queues {
            match &queue.kind {
                QueueKind::Embedded(embedded) => self.database(&["queues", name, "embedded", "path"], &embedded.path),
                QueueKind::Memory(_) => {}
                QueueKind::Rabbitmq(rabbitmq) => {
                    if let Err((key, why)) = rabbitmq.fault() {
                        self.error(&["queues", name, "rabbitmq", key], why, "");
                    }
                    if let Some(why) = rabbitmq.password.as_ref().and_then(|password| self.unreadable(password)) {
                        self.warn(&["queues", name, "rabbitmq", "password"], why, "it must be there when the worker starts");
                    }
                }
                QueueKind::Sqs(sqs) => {
                    if let Err((key, why)) = sqs.fault(name) {
                        self.error(&["queues", name, "sqs", key], why, "");
                    }
                    let taken = self.config.pools.values().any(|pool| pool.from.contains(name));
                    for (number, route) in self.config.routes.iter().enumerate().filter(|_| taken) {
                        if let Err(why) = sqs.takes_place(name, &route.run) {
                            self.error(&["routes", &self.routes[number].clone(), "run"], why, "rename the executor or the queue");
                        }
                    }
                }
                QueueKind::Kafka(kafka) => {
                    if let Err((key, why)) = kafka.fault() {
                        self.error(&["queues", name, "kafka", key], why, "");
                    }
                    if let Some(why) = kafka.sasl.as_ref().and_then(|sasl| self.unreadable(&sasl.password)) {
                        self.warn(&["queues", name, "kafka", "sasl", "password"], why, "it must be there when the worker starts");
                    }
                }
            }
            let kind = queue.kind.name();
            self.built(&["queues", name, kind], kind);
            self.decoding(name, &queue.decode);
        }
        if self.source.root.at(&["state"]).is_some() {
            self.remembered();
        }
    }

    fn remembered(&mut self) {
        if let Some(file) = self.config.state.as_ref().and_then(State::file) {
            self.database(&["state", "embedded", "path"], file);
        }
        let Some(State::Kafka(kafka)) = &self.config.state else { return };
        if let Err((key, why)) = kafka.client().fault() {
            self.error(&["state", "kafka", key], why, "");
        }
        if let Some(why) = kafka.sasl.as_ref().and_then(|sasl| self.unreadable(&sasl.password)) {
            self.warn(&["state", "kafka", "sasl", "password"], why, "it must be there when the worker starts");
        }
        self.built(&["state", "kafka"], "kafka");
    }

    fn built(&mut self, at: &[&str], kind: &str) {
        if !queues::built(kind) {
            let message = format!("this build of windlass has no {kind}");
            self.error(at, message, format!("use one that was built with --features {kind}"));
        }
    }

    fn addresses(&mut self) {
        let (api, telemetry) = (&self.config.api, &self.config.telemetry);
        if let Some(listen) = api.listen.filter(|listen| !listen.0.ip().is_loopback() && api.token.is_none()) {
            let message = format!("{listen} can be reached from outside, and there is no token");
            self.error(&["api", "listen"], message, "add \"token: env:NAME\" or \"token: file:PATH\"");
        }
        let (Some(one), Some(other)) = (api.listen, telemetry.listen) else { return };
        let overlap = one.0.ip() == other.0.ip() || one.0.ip().is_unspecified() || other.0.ip().is_unspecified();
        if one.0.port() == other.0.port() && one.0.port() != 0 && overlap {
            let message = format!("the API listens on port {} already", one.0.port());
            self.error(&["telemetry", "listen"], message, "choose another port");
        }
    }

    fn unreadable(&self, secret: &Secret) -> Option<String> {
        secret.read(&self.source.base).err()
    }

    /// The folder must be there: a new one in the wrong place would look like an empty queue.
    fn database(&mut self, at: &[&str], path: &Path) {
        let path = self.source.base.join(path);
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder.is_dir() {
            self.error(at, format!("the folder {} is not there", folder.display()), "create it first");
        } else if path.is_dir() {
            self.error(at, format!("{} is a folder", path.display()), "name a file in it");
        }
    }

    fn decoding(&mut self, name: &str, decode: &Decode) {
        let at = |key| ["queues", name, "decode", "raw", key];
        match decode {
            Decode::Raw(Raw::Pointer(pointer)) if !pointer.starts_with('/') => {
                let message = format!("{pointer:?} is not a JSON pointer");
                self.error(&at("pointer"), message, "write the path with slashes, such as \"/event/kind\"");
            }
            Decode::Raw(Raw::Type(text)) if text.is_empty() => self.error(&at("type"), "empty", "name a job type"),
            Decode::Raw(Raw::Header(text)) if text.is_empty() => self.error(&at("header"), "empty", "name a header"),
            _ => {}
        }
    }
}
