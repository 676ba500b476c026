//! Inner functions, one by one: `cargo bench [-- FILTER]` in this directory.

#![forbid(unsafe_code)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use inner::{ESCAPED_MODULE, EvenTree, PLAIN_MODULE, data_tile, module, record_text, zip_of_source};
use tallystick::dirhash::{ZipLimits, hash_zip};
use tallystick::module::ModuleVersion;
use tallystick::note::{SignerKey, open, sign};
use tallystick::tlog::{
    Hash, RecordId, TilePlan, inclusion_proof_indexes, prove_inclusion, split_data_tile, stored_hash_index,
    tile_root, verify_inclusion,
};

/// The size of the log in the targets.
const RECORDS: u64 = 10_000_000;

/// A record whose proof is of full length, and no edge of anything.
const RECORD: RecordId = RecordId(3_333_333);

criterion_group!(benches, hashes, proofs, notes, modules, zips);
criterion_main!(benches);

fn hashes(c: &mut Criterion) {
    let mut group = c.benchmark_group("tlog");
    let text = record_text(0);
    group.throughput(Throughput::Elements(1));
    group.bench_function("record_hash", |b| b.iter(|| Hash::of_record(black_box(text.as_bytes()))));

    let tile: Vec<Hash> = (0..256u64).map(|number| Hash::of_record(&number.to_be_bytes())).collect();
    group.throughput(Throughput::Elements(tile.len() as u64));
    group.bench_function("tile_root of 256", |b| b.iter(|| tile_root(black_box(&tile))));

    let data = data_tile();
    group.throughput(Throughput::Bytes(data.len() as u64));
    group.bench_function("split_data_tile of 256", |b| b.iter(|| split_data_tile(black_box(&data))));
    group.finish();
}

fn proofs(c: &mut Criterion) {
    let tree = EvenTree::new(RECORDS);
    let size = tree.head.size;
    let (root, leaf) = (tree.head.root, tree.leaf());
    let mut group = c.benchmark_group("tlog");
    let prove = || {
        let hashes = tree.read(&inclusion_proof_indexes(size, black_box(RECORD))?);
        prove_inclusion(size, RECORD, &hashes)
    };
    let proof = prove().expect("the record is in the tree");
    let verify = || verify_inclusion(black_box(&proof), size, &root, RECORD, &leaf);
    verify().expect("the proof holds");
    group.bench_function("prove_inclusion at 10M", |b| b.iter(prove));
    group.bench_function("verify_inclusion at 10M", |b| b.iter(verify));

    let plan =
        TilePlan::new(&tree.head, 8, &[stored_hash_index(0, RECORD.0)]).expect("the hash is in the tree");
    let data: Vec<Vec<u8>> = plan.tiles().iter().map(|tile| tree.tile_data(tile)).collect();
    plan.finish(&data).expect("the tiles are those of the tree");
    group.throughput(Throughput::Bytes(data.iter().map(|data| data.len() as u64).sum()));
    group.bench_function("TilePlan::finish at 10M", |b| b.iter(|| plan.finish(black_box(&data))));
    group.finish();
}

fn notes(c: &mut Criterion) {
    let signer = SignerKey::generate("sum.corp.example".parse().expect("a key name"), [7; 32]);
    let verifier = signer.verifier();
    let text = EvenTree::new(RECORDS).head.format();
    let message = sign(&text, &[&signer]).expect("a tree head can be signed");
    open(message.as_bytes(), &[&verifier]).expect("the note was just signed");
    let mut group = c.benchmark_group("note");
    group.bench_function("sign", |b| b.iter(|| sign(black_box(&text), &[&signer])));
    group.bench_function("open", |b| b.iter(|| open(black_box(message.as_bytes()), &[&verifier])));
    group.finish();
}

fn modules(c: &mut Criterion) {
    assert_eq!(
        ModuleVersion::unescape(ESCAPED_MODULE).map(|module| module.to_string()).as_deref(),
        Ok(PLAIN_MODULE)
    );
    let mut group = c.benchmark_group("module");
    group.bench_function("unescape", |b| b.iter(|| ModuleVersion::unescape(black_box(ESCAPED_MODULE))));
    group.bench_function("parse", |b| b.iter(|| black_box(PLAIN_MODULE).parse::<ModuleVersion>()));
    group.finish();
}

fn zips(c: &mut Criterion) {
    let (zip, module, limits) = (zip_of_source(), module(), ZipLimits::default());
    hash_zip(zip.as_slice(), &module, &limits).expect("a sound zip");
    let mut group = c.benchmark_group("dirhash");
    group.throughput(Throughput::Bytes(zip.len() as u64));
    group.bench_function("hash_zip of 64 files", |b| {
        b.iter(|| hash_zip(black_box(zip.as_slice()), &module, &limits));
    });
    group.finish();
}
