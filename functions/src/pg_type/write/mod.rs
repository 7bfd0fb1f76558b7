//! One value at a time, appended to a byte buffer exactly as PostgreSQL sends it.
//!
//! Plain functions over plain numbers: they know neither Arrow nor the protocol, allocate nothing
//! (but in rare paths that say so), and are what both result rows and casts to text call.
//!
//! - [`number`]: integers and floats
//! - [`numeric`]: decimals of up to 256 bits
//! - [`datetime`]: dates, times, timestamps in the four date styles
//! - [`interval`]: intervals in the four interval styles
//! - [`bytes`]: bytea and uuid
//! - [`quote`]: the quoting of array elements and record fields

pub mod bytes;
pub mod datetime;
pub mod interval;
pub mod number;
pub mod numeric;
pub mod quote;

/// "00" to "99".
const DIGIT_PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut n = 0;
    while n < 100 {
        pairs[n] = [b'0' + (n / 10) as u8, b'0' + (n % 10) as u8];
        n += 1;
    }
    pairs
};

/// Two digits of a number below 100.
#[inline]
fn pair(n: u32) -> [u8; 2] {
    DIGIT_PAIRS[(n % 100) as usize]
}

#[inline]
fn push_pair(out: &mut Vec<u8>, n: u32) {
    out.extend_from_slice(&pair(n));
}

#[cfg(test)]
fn text_of(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}
