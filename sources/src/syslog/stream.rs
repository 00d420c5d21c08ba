//! Connections: TCP, TLS, Unix. One task serves them all, and whoever has something to read shares a page.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use pipeline::net::{ListenAt, ListenOptions, Listener};
use pipeline::{SourceError, Stopped};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Settings;
use super::connection::{Cause, Connection, Outcome};
use super::desk::Desk;

/// Silence is told of this often.
const IDLE: Duration = Duration::from_secs(1);
/// At the end, what lies in the kernel is read for so long.
const LAST_READS: Duration = Duration::from_secs(1);

/// Serves until told to stop.
pub(super) async fn run(
    listen: &ListenOptions,
    settings: &Settings,
    mut desk: Desk,
) -> Result<Result<Infallible, Stopped>, SourceError> {
    let metrics = desk.out.metrics().clone();
    let mut listener = Listener::bind(listen, Some(metrics)).map_err(SourceError)?;
    match (&listen.at, listener.local_addr()) {
        (_, Some(address)) => {
            tracing::info!(%address, tls = listen.tls.is_some(), "listening for syslog");
        }
        (ListenAt::Unix(path, _), None) => {
            tracing::info!(path = %path.display(), "listening for syslog");
        }
        _ => {}
    }
    Ok(serve(&mut listener, settings, &mut desk).await)
}

async fn serve(
    listener: &mut Listener,
    settings: &Settings,
    desk: &mut Desk,
) -> Result<Infallible, Stopped> {
    let stop = CancellationToken::new();
    let mut connections = FuturesUnordered::new();
    let mut stopped = pin!(desk.out.stopped());
    let mut tick = tokio::time::interval(IDLE);
    loop {
        tokio::select! {
            () = &mut stopped => break,
            Some(ready) = connections.next(), if !connections.is_empty() => {
                connections.extend(attend(ready, desk).map(Connection::wait));
                // Whoever else has something by now goes with the same batch.
                while !desk.is_full()
                    && let Some(Some(ready)) = connections.next().now_or_never()
                {
                    connections.extend(attend(ready, desk).map(Connection::wait));
                }
                desk.flush_and_rest().await?;
            }
            accepted = listener.accept() => {
                let sender = desk.sender(accepted.peer);
                let connection = Connection::new(accepted.stream, sender, settings, stop.clone());
                connections.push(connection.wait());
            }
            _ = tick.tick() => desk.idle().await?,
        }
    }
    stop.cancel();
    let until = Instant::now() + LAST_READS;
    while let Some((mut connection, _)) = connections.next().await {
        while connection.look(desk, Cause::Stop) != Outcome::Closed && Instant::now() < until {
            desk.flush().await?;
        }
        desk.flush().await?;
    }
    Err(Stopped)
}

/// Gives the connection back unless it is over.
fn attend(
    (mut connection, cause): (Box<Connection>, Cause),
    desk: &mut Desk,
) -> Option<Box<Connection>> {
    (connection.look(desk, cause) != Outcome::Closed).then_some(connection)
}
