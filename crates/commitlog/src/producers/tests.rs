use super::*;

#[test]
fn sequences_wrap_to_zero_behind_the_largest() // rule T2
{
    assert_eq!(sequence_after(i32::MAX, 1), 0);
    assert_eq!(sequence_after(i32::MAX - 1, 3), 1);
    assert_eq!(sequence_before(1, 3), i32::MAX - 1);
}
