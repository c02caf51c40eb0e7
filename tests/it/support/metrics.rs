//! What a server tells at `/metrics`.

use std::{collections::BTreeMap, net::SocketAddr};

use super::{Process, TestServer, wire::http_text};

/// What a server told, by series.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) text: String,
    pub(crate) values: BTreeMap<String, f64>,
}

impl TestServer {
    pub(crate) async fn told(&self) -> Told {
        told(self.server.http_address()).await
    }
}

impl Process {
    pub(crate) async fn told(&self) -> Told {
        told(self.http).await
    }
}

async fn told(http: SocketAddr) -> Told {
    let (status, text) = tokio::task::spawn_blocking(move || http_text(http, "/metrics")).await.expect("it is told");
    assert_eq!(status, 200);
    let series = text.lines().filter(|line| !line.starts_with('#'));
    let values = series.map(|line| line.rsplit_once(' ').expect("a series and its value"));
    let values = values.map(|(series, value)| (series.to_owned(), value.parse().expect("a number"))).collect();
    Told { text, values }
}

impl Told {
    pub(crate) fn value(&self, series: &str) -> f64 {
        *self.values.get(series).unwrap_or_else(|| panic!("there is no {series}:\n{}", self.text))
    }

    /// The same, of what is counted.
    #[track_caller]
    pub(crate) fn count(&self, series: &str) -> u64 {
        format!("{}", self.value(series)).parse().expect("a count")
    }
}
