//! Connections: TCP, TLS, Unix. One task serves them all, and whoever has something to read shares a page.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use pipeline::net::{ListenAt, ListenOptions, Listener};
use pipeline::{SourceError, Stopped};

use super::Settings;
use super::connection::{Cause, Connection, Ends, Outcome};
use super::desk::Desk;

/// Silence is told of this often.
const IDLE: Duration = Duration::from_secs(1);
/// At the end, what senders had sent before they heard of it is read for so long at most: megabytes may lie in the kernel
/// when whoever comes behind is slow, and a reload waits 10 s for a source before it cuts it off with what it holds.
const LAST_READS: Duration = Duration::from_secs(6);

/// Serves until told to stop.
pub(super) async fn run(
    listen: &ListenOptions,
    settings: &Settings,
    mut desk: Desk,
) -> Result<Result<Infallible, Stopped>, SourceError> {
    let metrics = desk.out.metrics().clone();
    let listener = Listener::bind(listen, Some(metrics)).map_err(SourceError)?;
    match (&listen.at, listener.local_addr()) {
        (_, Some(address)) => {
            tracing::info!(%address, tls = listen.tls.is_some(), "listening for syslog");
        }
        (ListenAt::Unix(path, _), None) => {
            tracing::info!(path = %path.display(), "listening for syslog");
        }
        _ => {}
    }
    Ok(serve(listener, settings, &mut desk).await)
}

async fn serve(
    mut listener: Listener,
    settings: &Settings,
    desk: &mut Desk,
) -> Result<Infallible, Stopped> {
    let ends = Ends::default();
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
                connections.push(Connection::new(accepted.stream, sender, settings, &ends).wait());
            }
            _ = tick.tick() => desk.idle().await?,
        }
    }
    // Whoever has connected already is heard; whoever connects now must not wait for one that will never accept it.
    while let Some(accepted) = listener.accept().now_or_never() {
        let sender = desk.sender(accepted.peer);
        connections.push(Connection::new(accepted.stream, sender, settings, &ends).wait());
    }
    drop(listener);
    let Ends { stop, leave } = ends;
    stop.cancel();
    let mut until = pin!(tokio::time::sleep(LAST_READS));
    while !connections.is_empty() {
        tokio::select! {
            () = &mut until, if !leave.is_cancelled() => leave.cancel(),
            Some(ready) = connections.next() => {
                let left = attend(ready, desk);
                // One that would never stop sending is left in the middle.
                let left = left.filter(|_| !leave.is_cancelled() || !desk.is_full());
                connections.extend(left.map(Connection::wait));
                if desk.is_full() {
                    desk.flush().await?;
                }
            }
        }
    }
    desk.flush().await?;
    Err(Stopped)
}

/// Gives the connection back unless it is over.
fn attend(
    (mut connection, cause): (Box<Connection>, Cause),
    desk: &mut Desk,
) -> Option<Box<Connection>> {
    (connection.look(desk, cause) != Outcome::Closed).then_some(connection)
}
