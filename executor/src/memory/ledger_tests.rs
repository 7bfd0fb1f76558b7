//! What the ledger answers to operators, blocks and scans: one behaviour each, and random sequences
//! (`random`).

#[path = "ledger_random_tests.rs"]
mod random;

use arrow::datatypes::DataType;
use catalog::{FileIdentity, Wanted};
use datafusion::object_store::ObjectMeta;
use job::{AttemptId, JobId, StageId, TaskId};

use super::*;

const MIB: u64 = 1 << 20;
/// Of 100 MiB, by consumers that hold half of it.
const LEFT_TO_OTHERS: u64 = 100 * MIB / 16;

/// Without a cache.
fn ledger(budget: u64) -> Ledger {
    Ledger::new(budget, CacheLimits::default())
}

/// With one of `max` bytes at most, of which `floor` do not give way.
fn caching(budget: u64, max: u64, floor: u64) -> Ledger {
    Ledger::new(budget, CacheLimits { max, floor })
}

fn key(n: u32) -> ChunkKey {
    key_of("t.parquet", "e", n)
}

/// Of a version of a file.
fn key_of(file: &str, e_tag: &str, n: u32) -> ChunkKey {
    let meta = ObjectMeta {
        location: file.into(),
        last_modified: std::time::SystemTime::UNIX_EPOCH.into(),
        size: 1,
        e_tag: Some(e_tag.to_owned()),
        version: Some("1.0".to_owned()),
    };
    let file = FileIdentity::of(&meta, false, std::time::SystemTime::now());
    ChunkKey {
        file: Arc::new(file.unwrap()),
        row_group: n,
        column: 0,
    }
}

/// The ledger does not look into chunks.
fn chunk(bytes: u64) -> Arc<Chunk> {
    Arc::new(Chunk::new(DataType::Int64, Vec::new(), bytes).unwrap())
}

fn wanted(key: &ChunkKey, bytes: u64, cost: u64) -> Wanted {
    Wanted {
        key: key.clone(),
        bytes,
        cost,
    }
}

/// As a scan that wants a chunk once and loads it if it may; is it there now?
fn scan(ledger: &mut Ledger, n: u32, bytes: u64) -> bool {
    scan_at(ledger, &key(n), bytes, None) == Some(Admission::Kept)
}

/// As a scan of a table that has this level; how it has the chunk.
fn scan_at(
    ledger: &mut Ledger,
    key: &ChunkKey,
    bytes: u64,
    level: Option<StorageLevel>,
) -> Option<Admission> {
    scan_wanted(ledger, &wanted(key, bytes, bytes), level)
}

fn scan_wanted(
    ledger: &mut Ledger,
    wanted: &Wanted,
    level: Option<StorageLevel>,
) -> Option<Admission> {
    let Wanted { key, bytes, .. } = wanted;
    let bytes = *bytes;
    match ledger.survey_chunks(std::slice::from_ref(wanted), level)[..] {
        [Prospect::Here] => Some(Admission::Kept),
        [Prospect::Welcome] => {
            let admission = ledger.begin_chunk(wanted, level);
            assert_ne!(admission, Admission::Refused);
            assert!(ledger.fill_chunk(key, &chunk(bytes), bytes));
            ledger.release_chunk(key);
            Some(admission)
        }
        _ => None,
    }
}

fn level(name: &str) -> Option<StorageLevel> {
    StorageLevel::parse(name)
}

fn attempt(n: u64) -> AttemptId {
    AttemptId {
        task: TaskId {
            job: JobId(n),
            stage: StageId(0),
            task: 0,
        },
        attempt: 0,
    }
}

fn consumer(ledger: &mut Ledger, n: usize, can_spill: bool) -> ConsumerId {
    let id = ConsumerId(n);
    ledger.register(id, &format!("operator {n}"), attempt(0), can_spill);
    id
}

fn keep(ledger: &mut Ledger, block: AttemptId, bytes: u64) {
    assert_eq!(ledger.try_store(block, bytes), Grant::Granted);
    ledger.unpin(block, bytes, bytes);
}

/// As the store would: moves up to `bytes` of what it has.
fn carry_out(ledger: &mut Ledger, mut order: MoveOrder, bytes: u64) {
    let selected = bytes.min(ledger.in_store(order.block));
    ledger.begin_move(&mut order, selected);
    ledger.moved(&mut order, selected);
    ledger.end_move(order, false);
}

#[test]
fn execution_moves_blocks_before_it_is_refused() {
    let mut ledger = ledger(100 * MIB);
    let join = consumer(&mut ledger, 1, false);
    keep(&mut ledger, attempt(1), 30 * MIB);
    keep(&mut ledger, attempt(2), 50 * MIB);

    let Grant::MoveFirst(orders) = ledger.try_grow(join, 30 * MIB) else {
        panic!("expected moves");
    };
    // The larger block goes first, and no more than is needed (or one efficient run).
    assert_eq!(
        orders,
        vec![MoveOrder {
            block: attempt(2),
            bytes: 10 * MIB
        }]
    );
    // Meanwhile another one waits for that same move, it doesn't order its own.
    assert_eq!(ledger.try_grow(join, 30 * MIB), Grant::Wait);
    carry_out(&mut ledger, orders[0], 11 * MIB);
    assert_eq!(ledger.try_grow(join, 30 * MIB), Grant::Granted);
    ledger.check();
}

#[test]
fn nothing_moves_for_a_request_that_cannot_be_met() {
    let mut ledger = ledger(100 * MIB);
    let join = consumer(&mut ledger, 1, false);
    keep(&mut ledger, attempt(1), 30 * MIB);
    ledger.grow(join, 60 * MIB);
    assert_eq!(
        ledger.try_grow(join, 41 * MIB),
        Grant::Refused {
            available: 40 * MIB - LEFT_TO_OTHERS
        }
    );
    assert_eq!(ledger.totals().stored, 30 * MIB);
}

#[test]
fn pinned_bytes_stay() {
    let mut ledger = ledger(100 * MIB);
    let join = consumer(&mut ledger, 1, false);
    assert_eq!(ledger.try_store(attempt(1), 60 * MIB), Grant::Granted);
    assert_eq!(
        ledger.try_grow(join, 50 * MIB),
        Grant::Refused {
            available: 40 * MIB
        }
    );
    ledger.unpin(attempt(1), 60 * MIB, 55 * MIB);
    assert!(matches!(
        ledger.try_grow(join, 50 * MIB),
        Grant::MoveFirst(_)
    ));
    ledger.check();
}

#[test]
fn read_blocks_go_first() {
    let mut ledger = ledger(100 * MIB);
    let join = consumer(&mut ledger, 1, false);
    keep(&mut ledger, attempt(1), 50 * MIB);
    keep(&mut ledger, attempt(2), 20 * MIB);
    ledger.mark_read(attempt(2), 20 * MIB);
    let Grant::MoveFirst(orders) = ledger.try_grow(join, 40 * MIB) else {
        panic!("expected moves");
    };
    assert_eq!(orders[0].block, attempt(2));
}

#[test]
fn a_greedy_sort_leaves_room_for_a_join() {
    let mut ledger = ledger(100 * MIB);
    let sort = consumer(&mut ledger, 1, true);
    let mut taken = 0;
    while ledger.try_grow(sort, MIB) == Grant::Granted {
        taken += 1;
    }
    // Alone, it may have nearly everything: its fair share is all there is.
    assert_eq!(taken * MIB, (100 * MIB - LEFT_TO_OTHERS) / MIB * MIB);
    ledger.shrink(sort, (taken - 70) * MIB);

    // With a second spilling operator its share is half: over it, a quarter must stay free.
    let other = consumer(&mut ledger, 2, true);
    ledger.grow(other, MIB);
    assert_eq!(ledger.try_grow(sort, 4 * MIB), Grant::Granted);
    assert!(matches!(ledger.try_grow(sort, MIB), Grant::Refused { .. }));
    let join = consumer(&mut ledger, 3, false);
    assert_eq!(ledger.try_grow(join, 20 * MIB), Grant::Granted);
    // A consumer below its share may have what is left.
    assert_eq!(ledger.try_grow(other, 5 * MIB), Grant::Granted);
    ledger.check();
}

/// One sort has spilled and merges, which can't spill; the other still takes rows.
#[test]
fn a_sort_leaves_room_for_anothers_merge() {
    let mut ledger = ledger(100 * MIB);
    let merge = consumer(&mut ledger, 1, false);
    assert_eq!(ledger.try_grow(merge, 30 * MIB), Grant::Granted);
    let sort = consumer(&mut ledger, 2, true);
    let mut taken = 0;
    while ledger.try_grow(sort, MIB) == Grant::Granted {
        taken += 1;
    }
    assert_eq!(taken, 45);
    assert_eq!(ledger.try_grow(merge, 20 * MIB), Grant::Granted);
    // However much others hold, a sort finds something.
    let join = consumer(&mut ledger, 3, false);
    ledger.shrink(sort, 45 * MIB);
    assert_eq!(ledger.try_grow(join, 46 * MIB), Grant::Granted);
    assert_eq!(ledger.try_grow(sort, 2 * MIB), Grant::Granted);
    assert!(matches!(ledger.try_grow(sort, MIB), Grant::Refused { .. }));
    ledger.check();
}

#[test]
fn who_holds_much_leaves_some_to_small_ones() {
    for can_spill in [true, false] {
        let mut ledger = ledger(100 * MIB);
        let large = consumer(&mut ledger, 1, can_spill);
        assert_eq!(ledger.try_grow(large, 50 * MIB), Grant::Granted);
        while ledger.try_grow(large, MIB / 4) == Grant::Granted {}
        assert_eq!(ledger.reserved(large), 100 * MIB - LEFT_TO_OTHERS);
        // A sort's merge, whose sort has nothing yet, and the sort.
        let (merge, sort) = (
            consumer(&mut ledger, 2, false),
            consumer(&mut ledger, 3, true),
        );
        assert_eq!(ledger.try_grow(merge, 4 * MIB), Grant::Granted);
        assert_eq!(ledger.try_grow(sort, 2 * MIB), Grant::Granted);
        assert!(!ledger.is_overdrawn_by(merge));
        // Taken without asking.
        assert!(ledger.is_overdrawn_by(large));
        ledger.shrink(large, 50 * MIB);
        assert!(!ledger.is_overdrawn_by(large));
        ledger.check();
    }
}

#[test]
fn nothing_is_always_granted() {
    let mut ledger = ledger(100 * MIB);
    let join = consumer(&mut ledger, 1, false);
    ledger.grow(join, 120 * MIB);
    for (id, can_spill) in [(2, true), (3, false)] {
        let late = consumer(&mut ledger, id, can_spill);
        assert_eq!(ledger.try_grow(late, 0), Grant::Granted);
        assert!(matches!(ledger.try_grow(late, 1), Grant::Refused { .. }));
    }
    ledger.check();
}

#[test]
fn storage_never_takes_from_execution() {
    let mut ledger = ledger(160 * MIB);
    let sort = consumer(&mut ledger, 1, true);
    ledger.grow(sort, 140 * MIB);
    assert_eq!(ledger.try_store(attempt(1), 10 * MIB), Grant::Granted);
    assert_eq!(
        ledger.try_store(attempt(1), MIB),
        Grant::Refused { available: 0 }
    );
}

#[test]
fn a_failed_move_is_not_ordered_again_until_something_is_dropped() {
    let mut ledger = ledger(100 * MIB);
    let join = consumer(&mut ledger, 1, false);
    keep(&mut ledger, attempt(1), 60 * MIB);
    keep(&mut ledger, attempt(2), 10 * MIB);
    let Grant::MoveFirst(orders) = ledger.try_grow(join, 50 * MIB) else {
        panic!("expected moves");
    };
    for order in orders {
        ledger.end_move(order, true);
    }
    // Only the other block is left, and it isn't enough.
    assert!(matches!(
        ledger.try_grow(join, 50 * MIB),
        Grant::Refused { .. }
    ));
    ledger.drop_block(attempt(2));
    assert!(matches!(
        ledger.try_grow(join, 50 * MIB),
        Grant::MoveFirst(_)
    ));
    ledger.check();
}

#[test]
fn a_block_dropped_while_it_moves_is_free_when_the_move_ends() {
    let mut ledger = ledger(100 * MIB);
    let join = consumer(&mut ledger, 1, false);
    keep(&mut ledger, attempt(1), 90 * MIB);
    let Grant::MoveFirst(orders) = ledger.try_grow(join, 50 * MIB) else {
        panic!("expected moves");
    };
    ledger.drop_block(attempt(1));
    assert_eq!(ledger.totals().stored, orders[0].bytes);
    ledger.end_move(orders[0], false);
    assert_eq!(ledger.totals().stored, 0);
    assert_eq!(ledger.totals().blocks, 0);
    ledger.check();
}

#[test]
fn cached_chunks_give_way_to_execution_before_anything_moves() {
    let mut ledger = caching(100 * MIB, 80 * MIB, 10 * MIB);
    let join = consumer(&mut ledger, 1, false);
    let sort = consumer(&mut ledger, 2, true);
    keep(&mut ledger, attempt(1), 20 * MIB);
    for n in 0..10 {
        assert!(scan(&mut ledger, n, 5 * MIB));
    }
    assert_eq!(ledger.totals().cached, 50 * MIB);
    assert_eq!(ledger.try_grow(join, 50 * MIB), Grant::Granted);
    assert_eq!(ledger.totals().stored, 20 * MIB);
    assert_eq!(ledger.totals().cached, 30 * MIB);
    assert_eq!(ledger.take_evicted().len(), 4);

    // Down to the floor for what could spill; then blocks move.
    assert_eq!(ledger.try_grow(sort, 20 * MIB), Grant::Granted);
    assert_eq!(ledger.totals().cached, 10 * MIB);
    let Grant::MoveFirst(orders) = ledger.try_grow(sort, 5 * MIB) else {
        panic!("expected moves");
    };
    for order in orders {
        ledger.end_move(order, true);
    }
    assert_eq!(
        ledger.try_grow(sort, 5 * MIB),
        Grant::Refused { available: 0 }
    );
    assert_eq!(ledger.totals().cached, 10 * MIB);
    // What can't spill is not refused for them.
    assert!(ledger.hold_chunk(&key(0)).is_none());
    let late = consumer(&mut ledger, 3, false);
    assert_eq!(ledger.try_grow(late, 6 * MIB), Grant::Granted);
    assert_eq!(ledger.totals().cached, 0);
    assert_eq!(
        ledger.try_grow(late, 5 * MIB),
        Grant::Refused { available: 4 * MIB }
    );
    ledger.check();
}

#[test]
fn what_scans_hold_stays_and_is_never_more_than_the_floor() {
    let mut ledger = caching(100 * MIB, 80 * MIB, 10 * MIB);
    let join = consumer(&mut ledger, 1, false);
    for n in 0..4 {
        assert!(scan(&mut ledger, n, 5 * MIB));
    }
    assert!(ledger.hold_chunk(&key(0)).is_some());
    assert!(ledger.hold_chunk(&key(0)).is_some());
    assert!(ledger.hold_chunk(&key(1)).is_some());
    assert!(ledger.hold_chunk(&key(2)).is_none());
    assert_eq!(
        ledger.begin_chunk(&wanted(&key(9), MIB, 1), None),
        Admission::Refused
    );

    let other = consumer(&mut ledger, 2, false);
    assert_eq!(ledger.try_grow(other, 45 * MIB), Grant::Granted);
    assert_eq!(ledger.try_grow(join, 45 * MIB), Grant::Granted);
    assert_eq!(ledger.totals().cached, 10 * MIB);
    assert!(ledger.hold_chunk(&key(2)).is_none());
    for n in [0, 0, 1] {
        ledger.release_chunk(&key(n));
    }
    assert!(ledger.hold_chunk(&key(0)).is_some());
    ledger.check();
}

#[test]
fn storage_takes_from_the_cache_and_the_cache_from_nobody() {
    let mut ledger = caching(160 * MIB, 160 * MIB, 20 * MIB);
    keep(&mut ledger, attempt(1), 60 * MIB);
    for n in 0..20 {
        scan(&mut ledger, n, 10 * MIB);
    }
    // A sixteenth stays free.
    assert_eq!(ledger.totals().used(), 150 * MIB);
    assert_eq!(ledger.totals().stored, 60 * MIB);
    keep(&mut ledger, attempt(2), 30 * MIB);
    assert_eq!(ledger.totals().cached, 60 * MIB);
    // Rows on their way to a client ask nobody.
    ledger.grow_results(50 * MIB);
    assert_eq!(ledger.totals().used(), 160 * MIB);
    assert_eq!(ledger.totals().cached, 20 * MIB);
    ledger.check();
}

#[test]
fn one_pass_over_much_does_not_throw_out_what_is_hot() {
    let mut ledger = caching(1000 * MIB, 100 * MIB, 50 * MIB);
    for _ in 0..4 {
        for n in 0..10 {
            assert!(scan(&mut ledger, n, 10 * MIB));
        }
    }
    for pass in 0..2 {
        for n in 100..1000 {
            assert!(!scan(&mut ledger, n, 10 * MIB), "pass {pass}");
        }
    }
    for n in 0..10 {
        assert!(scan(&mut ledger, n, 10 * MIB));
    }
    assert_eq!(ledger.cache_counts().evictions, 0);
    // What gets hotter than they are comes in.
    let mut came = false;
    for _ in 0..12 {
        came = scan(&mut ledger, 2000, 10 * MIB);
    }
    assert!(came);
    assert_eq!(ledger.cache_counts().evictions, 1);
    ledger.check();
}

#[test]
fn what_takes_long_to_have_again_is_kept_rather_than_what_does_not() {
    let mut ledger = caching(1000 * MIB, 100 * MIB, 50 * MIB);
    let scan = |ledger: &mut Ledger, n: u32, cost: u64| {
        let kept = scan_wanted(ledger, &wanted(&key(n), 10 * MIB, cost), None);
        kept == Some(Admission::Kept)
    };
    let cost = |n: u32| if n == 7 { 5 } else { 50 };
    for _ in 0..4 {
        for n in 0..10 {
            assert!(scan(&mut ledger, n, cost(n)));
        }
    }
    // As often, and cheaper than all but one of them.
    for _ in 0..4 {
        scan(&mut ledger, 20, 10);
    }
    assert_eq!(ledger.cache_counts().evictions, 1);
    for n in 0..10 {
        assert_eq!(ledger.hold_chunk(&key(n)).is_some(), n != 7, "{n}");
        ledger.release_chunk(&key(n));
    }
    for _ in 0..4 {
        assert!(!scan(&mut ledger, 7, 5) && !scan(&mut ledger, 21, 9));
    }
    // Once, but worth ten times what the others are.
    assert!(scan(&mut ledger, 30, 500));
    assert!(ledger.hold_chunk(&key(20)).is_none());
    ledger.check();
}

#[test]
fn a_table_larger_than_the_cache_keeps_the_same_part_cached() {
    let mut ledger = caching(1000 * MIB, 100 * MIB, 50 * MIB);
    for _ in 0..10 {
        let found = (0..30).filter(|n| scan(&mut ledger, *n, 10 * MIB)).count();
        assert_eq!(found, 10);
    }
    assert_eq!(ledger.cache_counts().evictions, 0);
}

#[test]
fn a_chunk_is_loaded_by_one_and_weighs_what_it_came_to() {
    let mut ledger = caching(100 * MIB, 80 * MIB, 20 * MIB);
    assert_eq!(
        ledger.begin_chunk(&wanted(&key(1), 5 * MIB, 1), None),
        Admission::Kept
    );
    assert_eq!(
        ledger.begin_chunk(&wanted(&key(1), 5 * MIB, 1), None),
        Admission::Refused
    );
    assert!(ledger.hold_chunk(&key(1)).is_none());
    assert!(ledger.fill_chunk(&key(1), &chunk(MIB), MIB));
    assert_eq!(ledger.totals().cached, MIB);
    ledger.release_chunk(&key(1));

    // Given up.
    assert_eq!(
        ledger.begin_chunk(&wanted(&key(2), 5 * MIB, 1), None),
        Admission::Kept
    );
    ledger.abandon_chunk(&key(2));
    assert_eq!(ledger.totals().cached, MIB);
    // Larger than what may be held.
    assert_eq!(
        ledger.begin_chunk(&wanted(&key(3), 5 * MIB, 1), None),
        Admission::Kept
    );
    assert!(!ledger.fill_chunk(&key(3), &chunk(30 * MIB), 30 * MIB));
    assert_eq!(ledger.totals().cached, MIB);
    assert_eq!(ledger.totals().cached_pinned, 0);
    ledger.check();
}

#[test]
fn without_a_cache_nothing_is_welcome() {
    let mut ledger = ledger(100 * MIB);
    for _ in 0..5 {
        assert!(!scan(&mut ledger, 1, 0) && !scan(&mut ledger, 2, MIB));
    }
    assert_eq!(ledger.totals().cached_chunks, 0);
}

#[test]
fn tables_that_were_told_to_be_cached_come_before_those_that_were_not() {
    let mut ledger = caching(1000 * MIB, 100 * MIB, 50 * MIB);
    for _ in 0..10 {
        for n in 0..10 {
            assert!(scan(&mut ledger, n, 10 * MIB));
        }
    }
    // However hot the others are.
    let declared = |n| key_of("declared.parquet", "e", n);
    let memory = level("MEMORY_ONLY");
    for n in 0..8 {
        let kept = scan_at(&mut ledger, &declared(n), 10 * MIB, memory);
        assert_eq!(kept, Some(Admission::Kept));
        ledger.check();
    }
    assert_eq!(ledger.cache_counts().evictions, 8);
    // What does not fit stays out, and does not throw out what came before.
    for _ in 0..5 {
        let kept =
            (0..20).filter(|n| scan_at(&mut ledger, &declared(*n), 10 * MIB, memory).is_some());
        assert_eq!(kept.count(), 10);
    }
    for n in 0..10 {
        assert!(!scan(&mut ledger, n, 10 * MIB));
    }
    // Until it is as any other table, and something is wanted more.
    for n in 0..10 {
        assert!(scan_at(&mut ledger, &declared(n), 10 * MIB, None).is_some());
    }
    let mut came = false;
    for _ in 0..14 {
        came |= scan(&mut ledger, 0, 10 * MIB);
    }
    assert!(came);
    ledger.check();
}

#[test]
fn what_memory_has_no_place_for_passes_through_it_to_disk() {
    let mut ledger = caching(1000 * MIB, 100 * MIB, 50 * MIB);
    let on_disk = level("DISK_ONLY");
    assert_eq!(
        scan_at(&mut ledger, &key(1), 10 * MIB, on_disk),
        Some(Admission::Passing)
    );
    assert_eq!(ledger.totals().cached, 0);

    let both = level("MEMORY_AND_DISK");
    for n in 0..10 {
        assert_eq!(
            scan_at(&mut ledger, &key(n), 10 * MIB, both),
            Some(Admission::Kept)
        );
    }
    // Full of its like.
    let passing = scan_at(&mut ledger, &key(20), 10 * MIB, both);
    assert_eq!(passing, Some(Admission::Passing));
    assert_eq!(ledger.totals().cached, 100 * MIB);
    assert_eq!(ledger.take_evicted().len(), 2);
    // What gives way is read again.
    let joins = [1, 2].map(|id| consumer(&mut ledger, id, false));
    for join in joins {
        assert_eq!(ledger.try_grow(join, 480 * MIB), Grant::Granted);
    }
    let evicted = ledger.take_evicted();
    assert!(evicted.len() >= 6);
    assert_eq!(scan_at(&mut ledger, &key(0), 10 * MIB, both), None);
    for join in joins {
        ledger.shrink(join, 480 * MIB);
    }
    let kept = scan_at(&mut ledger, &key(0), 10 * MIB, both);
    assert_eq!(kept, Some(Admission::Kept));
    ledger.check();
}

#[test]
fn one_version_of_a_file_takes_the_place_of_another() {
    let mut ledger = caching(1000 * MIB, 100 * MIB, 50 * MIB);
    let memory = level("MEMORY_ONLY");
    let (old, new) = (|n| key_of("t", "old", n), |n| key_of("t", "new", n));
    let other = key_of("u", "old", 0);
    assert!(scan_at(&mut ledger, &other, MIB, None).is_some());
    for n in 0..5 {
        assert!(scan_at(&mut ledger, &old(n), MIB, memory).is_some());
    }
    assert!(ledger.hold_chunk(&old(0)).is_some());
    assert!(scan_at(&mut ledger, &new(0), MIB, memory).is_some());
    ledger.check();
    // A scan still reads the old one.
    let mut chunks: Vec<ChunkKey> = ledger.chunks().map(|(key, _, _)| key.clone()).collect();
    chunks.sort_by_key(|key| (key.file.location().clone(), *key == new(0)));
    assert_eq!(chunks, [old(0), new(0), other.clone()]);
    ledger.release_chunk(&old(0));
    assert_eq!(ledger.totals().cached, 2 * MIB);

    ledger.forget_chunks(&CachedFiles::Under(vec!["t".into()]));
    assert_eq!(ledger.totals().cached, MIB);
    ledger.forget_chunks(&CachedFiles::All);
    assert_eq!(ledger.totals().cached, 0);
    ledger.check();
}

#[test]
fn copies_that_no_load_finds_any_more_make_room() {
    let memory = level("MEMORY_ONLY");
    let mut ledger = caching(1000 * MIB, 10 * MIB, 10 * MIB);
    let key = |n| key_of("t", "v", n);
    for n in 0..10 {
        assert!(scan_at(&mut ledger, &key(n), MIB, memory).is_some());
    }
    assert!(scan_at(&mut ledger, &key(10), MIB, memory).is_none());
    // The table is loaded again: two parts are still at home here, three are new, and others aren't wanted.
    ledger.forget_level(&CachedFiles::Under(vec!["t".into()]));
    for n in [0, 1, 10, 11, 12] {
        assert!(scan_at(&mut ledger, &key(n), MIB, memory).is_some(), "{n}");
        ledger.check();
    }
    for n in [0, 1, 10, 11, 12] {
        assert!(ledger.hold_chunk(&key(n)).is_some(), "{n}");
        ledger.release_chunk(&key(n));
    }
    assert_eq!(ledger.totals().cached, 10 * MIB);
}

#[test]
fn what_nobody_was_charged_for_is_not_there_to_be_given_out() {
    let mut ledger = caching(1000 * MIB, 400 * MIB, 100 * MIB);
    let block = attempt(1);
    keep(&mut ledger, block, 300 * MIB);
    for n in 0..20 {
        assert!(scan(&mut ledger, n, 10 * MIB));
    }
    // There is room for it.
    ledger.note_unaccounted(400 * MIB);
    assert_eq!(ledger.totals().cached, 200 * MIB);
    // Cached chunks make room at once, the block for the next who asks.
    ledger.note_unaccounted(550 * MIB);
    assert_eq!(ledger.totals().unaccounted, 500 * MIB, "half of the budget");
    assert_eq!(ledger.totals().cached, 200 * MIB);
    let join = consumer(&mut ledger, 1, false);
    assert_eq!(ledger.try_grow(join, 200 * MIB), Grant::Granted);
    assert_eq!(ledger.totals().cached, 0);
    let Grant::MoveFirst(orders) = ledger.try_grow(join, 100 * MIB) else {
        panic!("the block moves");
    };
    for order in orders {
        carry_out(&mut ledger, order, order.bytes);
    }
    assert_eq!(ledger.try_grow(join, 100 * MIB), Grant::Granted);
    // Whoever has something to spill is to do so.
    let sort = consumer(&mut ledger, 2, true);
    let Grant::MoveFirst(orders) = ledger.try_grow(sort, 150 * MIB) else {
        panic!("the block moves");
    };
    for order in orders {
        carry_out(&mut ledger, order, order.bytes);
    }
    assert_eq!(ledger.try_grow(sort, 150 * MIB), Grant::Granted);
    let refused = ledger.try_grow(sort, 100 * MIB);
    assert!(matches!(refused, Grant::Refused { .. }), "{refused:?}");
    // Others have what was not handed out, when all that can move has moved.
    let Grant::MoveFirst(orders) = ledger.try_grow(join, 400 * MIB) else {
        panic!("the block moves");
    };
    for order in orders {
        carry_out(&mut ledger, order, order.bytes);
    }
    assert_eq!(ledger.totals().stored, 0);
    assert_eq!(ledger.try_grow(join, 400 * MIB), Grant::Granted);
    let late = consumer(&mut ledger, 3, true);
    assert_eq!(ledger.try_grow(late, 100 * MIB), Grant::Granted);
    let available = 1000 * MIB - (300 + 150 + 400 + 100) * MIB;
    let later = consumer(&mut ledger, 4, false);
    assert_eq!(
        ledger.try_grow(later, 60 * MIB),
        Grant::Refused { available }
    );
    ledger.shrink(join, 600 * MIB);
    // It went back to the system.
    ledger.note_unaccounted(0);
    assert_eq!(ledger.try_grow(sort, 300 * MIB), Grant::Granted);
    ledger.check();
}
