//! What belongs to a region: Redis, which not every region has, and the volume, which can't leave it.

use system_tests::fake_flyctl::commands::REGION_WITHOUT_REDIS;

use super::clone::Clone;
use super::{VM, everything, outline};

#[test]
fn a_region_without_redis_is_told_before_there_is_a_volume_and_another_one_goes_on() {
    let clone = Clone::new();
    let given = |region| [everything(), vec![("TEXTSLASH_REGION", region)]].concat();
    let outcome = clone.run(&["up"], &given(REGION_WITHOUT_REDIS), "");
    assert!(!outcome.is_well && outcome.told.contains("choose another: TEXTSLASH_REGION="), "{}", outcome.told);
    let state = clone.state();
    assert!(state.redis.is_empty() && state.apps[VM].volumes.is_empty(), "{:?}", outline(&state));

    let outcome = clone.run(&["up"], &given("fra"), "");
    assert!(outcome.is_well, "{}", outcome.told);
    let whole = Clone::new();
    assert!(whole.run(&["up"], &given("fra"), "").is_well);
    assert_eq!(outline(&clone.state()), outline(&whole.state()));
    // The next one has it from the file.
    assert!(clone.run(&["up"], &[], "").is_well);
    assert_eq!(outline(&clone.state()), outline(&whole.state()));
}

#[test]
fn a_volume_in_another_region_is_told_and_nothing_is_made_beside_it() {
    let clone = Clone::new();
    assert!(clone.run(&["up"], &everything(), "").is_well);
    let mut before = clone.state();
    // As after an up that was cut off before it came to them.
    before.redis.clear();
    before.apps.get_mut(VM).expect("the VM's app").machines.clear();
    clone.set_state(&before);
    let outcome = clone.run(&["up"], &[("TEXTSLASH_REGION", "fra")], "");
    let volume = before.apps[VM].volumes.keys().next().expect("a volume");
    for word in [volume.as_str(), "with TEXTSLASH_REGION=iad", "TEXTSLASH_REGION is fra"] {
        assert!(!outcome.is_well && outcome.told.contains(word), "{word}: {}", outcome.told);
    }
    assert_eq!(clone.state(), before);

    let mut state = before.clone();
    state.apps.get_mut(VM).expect("the VM's app").volumes.clear();
    clone.set_state(&state);
    assert!(clone.run(&["up"], &[], "").is_well);
    let vm = &clone.state().apps[VM];
    assert_eq!((vm.volumes.len(), vm.machines[0].region.as_str()), (1, "fra"));
    assert!(vm.volumes.values().all(|volume| volume.region == "fra"), "{:?}", vm.volumes);
}
