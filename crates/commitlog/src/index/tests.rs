use super::*;

#[test]
fn an_empty_index_finds_nothing() {
    let index = SparseIndex::new(Offset(5));
    assert_eq!(index.find_offset(Offset(5)), None);
    assert_eq!(index.max_timestamp(), None);
}
