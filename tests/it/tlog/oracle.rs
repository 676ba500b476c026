//! The second witness: RFC 6962, section 2.1, word for word, with its names, over all leaves and without any index.

use tallystick::tlog::Hash;

/// MTH(D[n])
pub(super) fn root(d: &[Hash]) -> Hash {
    match d {
        [] => Hash::EMPTY_TREE,
        [leaf] => *leaf,
        _ => Hash::of_node(&root(&d[..k(d)]), &root(&d[k(d)..])),
    }
}

/// PATH(m, D[n])
pub(super) fn path(m: usize, d: &[Hash]) -> Vec<Hash> {
    match d.len() {
        1 => vec![],
        _ if m < k(d) => [path(m, &d[..k(d)]), vec![root(&d[k(d)..])]].concat(),
        _ => [path(m - k(d), &d[k(d)..]), vec![root(&d[..k(d)])]].concat(),
    }
}

/// SUBPROOF(m, D[n], b)
pub(super) fn subproof(m: usize, d: &[Hash], b: bool) -> Vec<Hash> {
    match d.len() {
        n if m == n && b => vec![],
        n if m == n => vec![root(d)],
        _ if m <= k(d) => [subproof(m, &d[..k(d)], b), vec![root(&d[k(d)..])]].concat(),
        _ => [subproof(m - k(d), &d[k(d)..], false), vec![root(&d[..k(d)])]].concat(),
    }
}

/// The largest power of two smaller than n.
fn k(d: &[Hash]) -> usize {
    (0..).map(|i| 1 << i).take_while(|k| *k < d.len()).last().expect("two leaves or more")
}
