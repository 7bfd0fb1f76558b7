//! Random values, the same on every run.

use functions::pg_type::PgType;

/// SplitMix64: enough randomness for test data, and nothing to depend on.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1) as u64) as i64
    }

    /// Digits in plenty, or few.
    fn digits(&mut self, most: u64) -> String {
        let count = 1 + self.below(most);
        (0..count)
            .map(|_| char::from(b'0' + self.below(10) as u8))
            .collect()
    }

    fn text(&mut self) -> String {
        const ALPHABET: &[char] = &[
            'a', 'Z', '0', ' ', '"', '\\', '{', '}', ',', '\'', '(', ')', '\n', 'é', '漢', '😀',
        ];
        (0..self.below(8))
            .map(|_| ALPHABET[self.below(ALPHABET.len() as u64) as usize])
            .collect()
    }
}

/// SQL expressions.
pub(super) fn values() -> Vec<(PgType, Vec<String>)> {
    let mut random = Random(20_240_102);
    let mut many = |count: usize, make: &mut dyn FnMut(&mut Random) -> String| -> Vec<String> {
        (0..count).map(|_| make(&mut random)).collect()
    };
    vec![
        (
            PgType::INT8,
            many(200, &mut |r| {
                let shift = r.below(64);
                format!("'{}'", (r.next() as i64) >> shift)
            }),
        ),
        (
            PgType::FLOAT8,
            many(1_000, &mut |r| loop {
                let value = f64::from_bits(r.next());
                if value.is_finite() {
                    break format!("'{value:e}'");
                }
            }),
        ),
        (
            PgType::FLOAT8,
            many(600, &mut |r| {
                let scale = r.below(20) as i32 - 10;
                format!("'{}e{scale}'", r.between(-1_000_000, 1_000_000))
            }),
        ),
        (
            // Powers of two and their neighbours, where shortest digits are hardest.
            PgType::FLOAT8,
            many(600, &mut |r| {
                let bits = r.below(2046) << 52;
                let near = (bits as i64 + r.between(-1, 1)).max(1) as u64;
                format!("'{:e}'", f64::from_bits(near))
            }),
        ),
        (
            PgType::FLOAT8,
            many(400, &mut |r| {
                format!("'{}e{}'", r.between(1, 99), r.between(15, 30))
            }),
        ),
        (
            PgType::FLOAT4,
            many(1_000, &mut |r| loop {
                let value = f32::from_bits(r.next() as u32);
                if value.is_finite() {
                    break format!("'{value:e}'");
                }
            }),
        ),
        (
            PgType::FLOAT4,
            many(400, &mut |r| {
                format!("'{}e{}'", r.between(1, 9999), r.between(-15, 20))
            }),
        ),
        (
            PgType::NUMERIC,
            many(600, &mut |r| {
                let sign = if r.below(2) == 0 { "-" } else { "" };
                match r.below(3) {
                    0 => format!("'{sign}{}'", r.digits(76)),
                    1 => format!("'{sign}0.{}'", r.digits(75)),
                    _ => format!("'{sign}{}.{}'", r.digits(38), r.digits(38)),
                }
            }),
        ),
        (
            PgType::numeric(20, 6),
            many(200, &mut |r| format!("'{}.{}'", r.digits(12), r.digits(8))),
        ),
        (
            PgType::DATE,
            many(400, &mut |r| {
                let days = if r.below(2) == 0 {
                    r.between(-2_451_545, 2_145_000_000)
                } else {
                    r.between(-100_000, 100_000)
                };
                format!("date '2000-01-01' + {days}")
            }),
        ),
        (
            PgType::TIME,
            many(100, &mut |r| {
                format!("time '00:00' + interval '{} us'", r.below(86_400_000_000))
            }),
        ),
        (
            PgType::TIMESTAMP,
            many(400, &mut |r| {
                let days = r.between(-2_400_000, 3_000_000);
                let micros = r.below(86_400_000_000);
                format!("timestamp '2000-01-01' + interval '{days} days {micros} us'")
            }),
        ),
        (
            PgType::TIMESTAMPTZ,
            many(400, &mut |r| {
                // Most between 1880 and 2120, where zones have a history.
                let hours = if r.below(5) == 0 {
                    r.between(-40_000_000, 40_000_000)
                } else {
                    r.between(-1_050_000, 1_050_000)
                };
                let micros = r.below(3_600_000_000);
                format!(
                    "timestamptz '2000-01-01 00:00+00' + interval '{hours} hours' + interval '{micros} us'"
                )
            }),
        ),
        (
            PgType::INTERVAL,
            many(600, &mut |r| {
                let mut part = |most: i64| match r.below(3) {
                    0 => 0,
                    1 => r.between(-most, most),
                    _ => r.between(-9, 9),
                };
                let (months, days) = (part(1_000_000), part(1_000_000));
                let (seconds, micros) = (part(1_000_000_000), part(999_999));
                format!(
                    "make_interval(months => {months}, days => {days}) + {seconds} * interval '1 s' + {micros} * interval '1 us'"
                )
            }),
        ),
        (
            PgType::BYTEA,
            many(100, &mut |r| {
                let bytes: String = (0..r.below(20))
                    .map(|_| format!("{:02x}", r.below(256)))
                    .collect();
                format!("'\\x{bytes}'")
            }),
        ),
        (
            PgType::TEXT.array_of(),
            many(400, &mut |r| {
                let elements: Vec<String> = (0..r.below(5))
                    .map(|_| match r.below(6) {
                        0 => "NULL".to_owned(),
                        _ => format!("E'{}'", r.text().replace('\\', "\\\\").replace('\'', "''")),
                    })
                    .collect();
                format!("ARRAY[{}]::text[]", elements.join(","))
            }),
        ),
        (
            PgType::JSONB,
            many(200, &mut |r| {
                let text = r.text().replace('\\', "\\\\").replace('\'', "''");
                format!(
                    "jsonb_build_object(E'{text}', {}, 'k', E'{text}')",
                    r.between(-999, 999)
                )
            }),
        ),
    ]
}

/// Literals, each with one or two of its characters or words changed.
pub(super) fn mutations(cases: &[(PgType, Vec<&str>)]) -> Vec<(PgType, Vec<String>)> {
    const PER_LITERAL: usize = 12;
    let mut random = Random(55);
    cases
        .iter()
        .map(|(pg_type, literals)| {
            let mutants = literals
                .iter()
                // Time zone databases disagree about what this one was long ago.
                .filter(|literal| !literal.contains("EST5EDT"))
                .flat_map(|literal| [literal; PER_LITERAL])
                .map(|literal| {
                    let once = mutate(literal, &mut random);
                    if random.below(2) == 0 {
                        once
                    } else {
                        mutate(&once, &mut random)
                    }
                })
                .collect();
            (*pg_type, mutants)
        })
        .collect()
}

fn mutate(literal: &str, random: &mut Random) -> String {
    const INSERTS: &[char] = &[
        ' ', '-', '+', ':', '.', '/', ',', '0', '1', '9', 'T', 'e', 'a', '"', '\\', '{', '}', '\'',
    ];
    let mut chars: Vec<char> = literal.chars().collect();
    let at = random.below(chars.len().max(1) as u64) as usize;
    match random.below(5) {
        0 if !chars.is_empty() => {
            chars.remove(at);
        }
        1 if !chars.is_empty() => {
            chars[at] = INSERTS[random.below(INSERTS.len() as u64) as usize];
        }
        2 => chars.insert(at, INSERTS[random.below(INSERTS.len() as u64) as usize]),
        3 => {
            let mut words: Vec<&str> = literal.split(' ').collect();
            let (a, b) = (
                random.below(words.len() as u64),
                random.below(words.len() as u64),
            );
            words.swap(a as usize, b as usize);
            return words.join(" ");
        }
        _ => {
            if let Some(digit) = chars.get_mut(at).filter(|c| c.is_ascii_digit()) {
                *digit = char::from(b'0' + random.below(10) as u8);
            }
        }
    }
    chars.into_iter().collect()
}
