//! What every clock and every source of chance does.

use std::collections::BTreeSet;

use world::World;

use crate::facts;

facts! {
    real: crate::real => [time_never_goes_back, wall_time_is_plausible, chance_fills_and_differs];
    sim: crate::sim => [time_never_goes_back, wall_time_is_plausible, chance_fills_and_differs];
}

fn time_never_goes_back(world: World) {
    let mut last = world.clock.now();
    for _ in 0..1000 {
        let now = world.clock.now();
        assert!(now >= last);
        last = now;
    }
}

fn wall_time_is_plausible(world: World) {
    // After 2023, before 2100.
    assert!((1_672_531_200_000..4_102_444_800_000).contains(&world.clock.wall_ms()));
}

fn chance_fills_and_differs(world: World) {
    let numbers: BTreeSet<u64> = (0..100).map(|_| world.random.next_u64()).collect();
    assert_eq!(numbers.len(), 100);
    for length in 0..70 {
        let mut buffer = vec![0; length];
        world.random.fill(&mut buffer);
        if length >= 16 {
            assert!(buffer.iter().any(|&byte| byte != 0));
        }
    }
}
