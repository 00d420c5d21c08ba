//! The types of enrichment tables: what stands in a file becomes rows that can be asked for.

mod cells;
mod file;
mod geoip;
#[cfg(test)]
mod mmdb;
mod networks;
mod read;

pub(crate) use cells::write_key;
pub use file::Config as FileTable;
pub use geoip::Config as GeoipTable;
pub use networks::Config as NetworksTable;

#[cfg(test)]
pub(crate) use mmdb::Mmdb;

use std::net::IpAddr;

/// The address that a text says; an IPv4 address in IPv6 clothes is that IPv4 address.
fn address(text: &[u8]) -> Option<IpAddr> {
    // A zone (`fe80::1%eth0`) says by which interface, and is no part of the address.
    let end = memchr::memchr(b'%', text).unwrap_or(text.len());
    let address: IpAddr = std::str::from_utf8(&text[..end]).ok()?.parse().ok()?;
    Some(address.to_canonical())
}

/// Appends text as keys are compared where `A` and `a` are the same.
pub(crate) fn fold_case(text: &[u8], to: &mut Vec<u8>) {
    if text.is_ascii() {
        let at = to.len();
        to.extend_from_slice(text);
        to[at..].make_ascii_lowercase();
        return;
    }
    let mut letter = [0; 4];
    for lower in String::from_utf8_lossy(text)
        .chars()
        .flat_map(char::to_lowercase)
    {
        to.extend_from_slice(lower.encode_utf8(&mut letter).as_bytes());
    }
}
