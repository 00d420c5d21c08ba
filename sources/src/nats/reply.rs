//! The subject that an answer about a message goes to: what it tells, and how an answer is made sure of.

use std::time::Duration;

use async_nats::Client;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use pipeline::Time;

/// Tries for an answer that the server has to confirm.
const TRIES: u32 = 3;
/// Longest wait for each.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(5);
/// Answers that wait for their confirmation at once, for each batch.
const CONFIRMING: usize = 256;

/// Where a message stands in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) sequence: u64,
    /// Its place among all deliveries of the consumer.
    pub(super) delivery: u64,
    /// How often it was delivered, this time included.
    pub(super) delivered: u64,
    pub(super) published: Time,
}

/// Gives answers that the server confirms; says how many it did not.
pub(super) async fn confirm(client: &Client, replies: Vec<Box<str>>, word: &Bytes) -> u64 {
    let one = |reply: Box<str>| async move {
        for _ in 0..TRIES {
            let asked = client.request(reply.to_string(), word.clone());
            if let Ok(Ok(_)) = tokio::time::timeout(CONFIRMED_WITHIN, asked).await {
                return 0;
            }
        }
        1
    };
    let mut lost = 0;
    let mut asking = FuturesUnordered::new();
    for reply in replies {
        if asking.len() >= CONFIRMING {
            lost += asking.next().await.unwrap_or(0);
        }
        asking.push(one(reply));
    }
    while let Some(one) = asking.next().await {
        lost += one;
    }
    lost
}

/// What the subject for the answer tells:
/// `$JS.ACK.<stream>.<consumer>.<delivered>.<sequence>.<consumer sequence>.<ns>.<pending>`, since 2.8 also with
/// `<domain>.<account>` behind `ACK` and a token at the end.
pub(super) fn origin(reply: &str) -> Option<Origin> {
    let tokens: Vec<&str> = reply.strip_prefix("$JS.ACK.")?.split('.').collect();
    let counts = match tokens.len() {
        7 => tokens.get(2..)?,
        9.. => tokens.get(4..)?,
        _ => return None,
    };
    let number = |place: usize| counts.get(place)?.parse::<u64>().ok();
    Some(Origin {
        delivered: number(0)?,
        sequence: number(1)?,
        delivery: number(2)?,
        published: Time(i64::try_from(number(3)?).ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_tells_where_a_message_stands_in_both_forms() {
        let expected = Some(Origin {
            delivered: 2,
            sequence: 17,
            delivery: 5,
            published: Time(1_700_000_000_000_000_000),
        });
        let short = "$JS.ACK.AUDIT.agg.2.17.5.1700000000000000000.9";
        let long = "$JS.ACK._.hash.AUDIT.agg.2.17.5.1700000000000000000.9.token";
        assert_eq!(origin(short), expected);
        assert_eq!(origin(long), expected);
        for odd in [
            "",
            "$JS.ACK.",
            "$JS.ACK.a.b.c.d.e.f.g",
            "_INBOX.x",
            "$JS.ACK.A.a.-1.1.1.1.1",
        ] {
            assert_eq!(origin(odd), None, "{odd}");
        }
    }
}
