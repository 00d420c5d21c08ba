//! Encrypted private keys: PKCS #8 with PBES2 (PBKDF2 and AES-CBC), which is what `openssl pkcs8 -topk8` writes.

use std::num::NonZeroU32;

use aws_lc_rs::cipher::{
    AES_128, AES_256, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey,
};
use aws_lc_rs::pbkdf2;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::der::{Der, INTEGER, OCTETS, OID, SEQUENCE};

/// More rounds than any tool writes by default (OpenSSL: 2 048); a file with more would stop the program for minutes.
const MAX_ROUNDS: u32 = 10_000_000;

const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0d];
const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0c];
const HMAC_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x07];
const HMAC_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x09];
const HMAC_SHA512: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x0b];
const AES_128_CBC: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x02];
const AES_256_CBC: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2a];

/// The key of a PEM file, with its password; a key that is not encrypted needs none.
pub(super) fn decrypt_pem(pem: &[u8], password: &str) -> Result<PrivateKeyDer<'static>, String> {
    let text = Zeroizing::new(
        std::str::from_utf8(pem)
            .map_err(|_| "is no PEM file".to_owned())?
            .to_owned(),
    );
    if text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err("is encrypted in the old way of OpenSSL; rewrite it with `openssl pkcs8 -topk8 -v2 aes256`".to_owned());
    }
    if !text.contains("BEGIN ENCRYPTED PRIVATE KEY") {
        return PrivateKeyDer::from_pem_slice(pem)
            .map_err(|e| format!("holds no private key: {e}"));
    }
    // The PEM reader knows no encrypted keys, and gives the bytes of any other unread.
    let renamed = Zeroizing::new(text.replace("ENCRYPTED PRIVATE KEY", "PRIVATE KEY"));
    let outer = PrivateKeyDer::from_pem_slice(renamed.as_bytes())
        .map_err(|e| format!("holds no private key: {e}"))?;
    let plain = decrypt(outer.secret_der(), password)?;
    Ok(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(plain)))
}

fn decrypt(der: &[u8], password: &str) -> Result<Vec<u8>, String> {
    let unusual = || {
        "is encrypted in a way that is not known; rewrite it with `openssl pkcs8 -topk8 -v2 aes256`"
            .to_owned()
    };
    #[allow(clippy::type_complexity, reason = "four parts of one file, used once")]
    let parse = || -> Option<(Derivation<'_>, &[u8], &[u8], &[u8])> {
        let mut outer = Der(Der(der).take(SEQUENCE)?);
        let mut algorithm = Der(outer.take(SEQUENCE)?);
        let data = outer.take(OCTETS)?;
        if algorithm.take(OID)? != PBES2 {
            return None;
        }
        let mut parameters = Der(algorithm.take(SEQUENCE)?);
        let mut kdf = Der(parameters.take(SEQUENCE)?);
        if kdf.take(OID)? != PBKDF2 {
            return None;
        }
        let derivation = Derivation::parse(Der(kdf.take(SEQUENCE)?))?;
        let mut cipher = Der(parameters.take(SEQUENCE)?);
        Some((derivation, cipher.take(OID)?, cipher.take(OCTETS)?, data))
    };
    let (derivation, cipher, iv, data) = parse().ok_or_else(unusual)?;
    let cipher = match cipher {
        AES_128_CBC => &AES_128,
        AES_256_CBC => &AES_256,
        _ => return Err(unusual()),
    };
    let iv: [u8; 16] = iv.try_into().map_err(|_| unusual())?;
    let length = if std::ptr::eq(cipher, &AES_128) {
        16
    } else {
        32
    };
    let mut key = Zeroizing::new(vec![0; length]);
    pbkdf2::derive(
        derivation.hash,
        derivation.rounds,
        derivation.salt,
        password.as_bytes(),
        &mut key,
    );
    let wrong = || "cannot be decrypted: tls.key_pass is not its password".to_owned();
    let key = UnboundCipherKey::new(cipher, &key).map_err(|_| wrong())?;
    let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).map_err(|_| wrong())?;
    let mut plain = data.to_vec();
    let length = key
        .decrypt(&mut plain, DecryptionContext::Iv128(iv.into()))
        .map_err(|_| wrong())?
        .len();
    plain.truncate(length);
    // One wrong password in 256 leaves a padding that looks right.
    if Der(&plain).take(SEQUENCE).is_none() {
        return Err(wrong());
    }
    Ok(plain)
}

struct Derivation<'a> {
    hash: pbkdf2::Algorithm,
    rounds: NonZeroU32,
    salt: &'a [u8],
}

impl<'a> Derivation<'a> {
    fn parse(mut der: Der<'a>) -> Option<Self> {
        let salt = der.take(OCTETS)?;
        let number = der.take(INTEGER)?;
        if number.len() > 4 || number.first().is_some_and(|b| b & 0x80 != 0) {
            return None;
        }
        let rounds = number.iter().fold(0, |n: u32, b| n << 8 | u32::from(*b));
        if rounds > MAX_ROUNDS {
            return None;
        }
        if der.0.first() == Some(&INTEGER) {
            // The length of the key, which the cipher says too.
            der.take(INTEGER)?;
        }
        let hash = match der.take(SEQUENCE).map(|prf| Der(prf).take(OID)) {
            None | Some(Some(HMAC_SHA1)) => pbkdf2::PBKDF2_HMAC_SHA1,
            Some(Some(HMAC_SHA256)) => pbkdf2::PBKDF2_HMAC_SHA256,
            Some(Some(HMAC_SHA512)) => pbkdf2::PBKDF2_HMAC_SHA512,
            Some(_) => return None,
        };
        Some(Self {
            hash,
            rounds: NonZeroU32::new(rounds)?,
            salt,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

    /// `openssl genpkey -algorithm ED25519 | openssl pkcs8 -topk8 -v2 aes256 -passout pass:geheim`.
    const ENCRYPTED: &str = include_str!("testdata/ed25519.encrypted.pem");

    #[test]
    fn an_encrypted_key_is_read_with_its_password_only() {
        let opened = decrypt_pem(ENCRYPTED.as_bytes(), "geheim").unwrap();
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(opened.secret_der()).unwrap();
        let public: String = pair
            .public_key()
            .as_ref()
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        assert_eq!(
            public,
            "3f2d61150dfbcf88dc8ff70d7d1101612325cf0f61a9de50b1a0f026481aa99d"
        );
        assert!(
            decrypt_pem(ENCRYPTED.as_bytes(), "wrong")
                .unwrap_err()
                .contains("key_pass")
        );
    }

    #[test]
    fn cut_and_bent_files_are_errors() {
        let whole = ENCRYPTED.replace("ENCRYPTED PRIVATE KEY", "PRIVATE KEY");
        let der = PrivateKeyDer::from_pem_slice(whole.as_bytes()).unwrap();
        let der = der.secret_der();
        for end in 0..der.len() {
            assert!(decrypt(&der[..end], "geheim").is_err());
        }
        assert!(decrypt(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], "x").is_err());
    }
}
