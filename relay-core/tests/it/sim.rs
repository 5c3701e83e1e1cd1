//! The simulated world: a few hundred seeds, and those that once failed. `simulate` runs them by the thousand.

use relay_core::testing::sim;

#[test]
fn three_hundred_worlds_keep_every_invariant() {
    keeps_every_invariant(0..300);
}

#[test]
fn the_same_seed_makes_the_same_history() {
    for seed in [1, 2, 3] {
        let (first, second) = (sim::trace(seed), sim::trace(seed));
        assert!(first.len() > 100, "something happens");
        assert_eq!(first, second);
    }
    assert_ne!(sim::trace(1), sim::trace(2));
}

#[test]
fn an_answer_accepted_while_a_diff_is_on_its_way_does_not_count_for_that_diff() {
    keeps_every_invariant([42, 122, 211].into_iter());
}

#[test]
fn a_text_accepted_while_an_inquiry_is_on_its_way_is_no_reply_to_it() {
    keeps_every_invariant([65, 83, 121].into_iter());
}

#[test]
fn a_decision_that_failed_does_not_leave_again_by_itself() {
    keeps_every_invariant([1, 3, 6].into_iter());
}

#[test]
fn a_second_refusal_in_the_same_words_counts_after_another_holder_sent_the_first() {
    keeps_every_invariant([10_806].into_iter());
}

fn keeps_every_invariant(seeds: impl Iterator<Item = u64>) {
    for seed in seeds {
        if let Err(failure) = sim::run(seed) {
            panic!("{failure}");
        }
    }
}
