//! Byte strings and UUIDs.

use crate::pg_type::settings::ByteaOutput;

const HEX: &[u8; 16] = b"0123456789abcdef";

pub fn bytea(out: &mut Vec<u8>, value: &[u8], output: ByteaOutput) {
    match output {
        ByteaOutput::Hex => {
            out.extend_from_slice(b"\\x");
            hex(out, value);
        }
        ByteaOutput::Escape => {
            for &byte in value {
                match byte {
                    b'\\' => out.extend_from_slice(b"\\\\"),
                    b' '..=b'~' => out.push(byte),
                    _ => out.extend_from_slice(&[
                        b'\\',
                        b'0' + (byte >> 6),
                        b'0' + ((byte >> 3) & 7),
                        b'0' + (byte & 7),
                    ]),
                }
            }
        }
    }
}

fn hex(out: &mut Vec<u8>, value: &[u8]) {
    out.reserve(value.len() * 2);
    for &byte in value {
        out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
}

/// Sixteen bytes in groups of 8-4-4-4-12 hex digits.
pub fn uuid(out: &mut Vec<u8>, value: &[u8]) {
    for (index, part) in value.chunks(2).enumerate() {
        if matches!(index, 2..=5) {
            out.push(b'-');
        }
        hex(out, part);
    }
}

#[cfg(test)]
mod tests {
    use super::super::text_of;
    use super::*;

    #[test]
    fn both_outputs() {
        let value = b"a\\\x00\xff";
        assert_eq!(
            text_of(|out| bytea(out, value, ByteaOutput::Hex)),
            "\\x615c00ff"
        );
        assert_eq!(
            text_of(|out| bytea(out, value, ByteaOutput::Escape)),
            "a\\\\\\000\\377"
        );
    }

    #[test]
    fn uuid_groups() {
        let value: Vec<u8> = (0..16).collect();
        assert_eq!(
            text_of(|out| uuid(out, &value)),
            "00010203-0405-0607-0809-0a0b0c0d0e0f"
        );
    }
}
