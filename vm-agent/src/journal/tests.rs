//! The journal across restarts, torn writes included.

use relay_core::protocol::{ChangedFiles, DiffStat};
use tempfile::TempDir;

use super::*;

fn record(number: u64) -> RunRecord {
    let conversation = ConversationId::parse("c").unwrap();
    RunRecord {
        run: RunId::of(&conversation, Timestamp(0), number),
        conversation,
        task: None,
        accepted_at: Timestamp(0),
        repository: None,
        snapshot: None,
        cost_microusd: None,
        trace: None,
        phase: Phase::Accepted,
    }
}

fn run(number: u64) -> RunId {
    record(number).run
}

fn tree() -> TreeHash {
    TreeHash::parse("abc123").unwrap()
}

fn progress(text: &str) -> VmEvent {
    VmEvent::Progress { text: text.to_owned() }
}

fn changes() -> VmEvent {
    let (summary, diff) = ("done".to_owned(), "+x".to_owned());
    let outcome = RunOutcome::Changes {
        summary,
        tree: tree(),
        stat: DiffStat::default(),
        diff,
        diff_cut: false,
        files: ChangedFiles::default(),
        drawings: Vec::new(),
        review: None,
    };
    VmEvent::Finished { outcome, spent: None }
}

fn cancelled() -> VmEvent {
    VmEvent::Finished { outcome: RunOutcome::Cancelled, spent: None }
}

fn reopened(directory: &TempDir) -> Journal {
    Journal::open(directory.path().to_owned()).unwrap()
}

/// A journal with one run in `phase` that has reported `events`, as a restart finds it.
fn after_a_crash(phase: Phase, events: Vec<VmEvent>) -> Phase {
    let directory = tempfile::tempdir().unwrap();
    let mut journal = reopened(&directory);
    let log = journal.create(record(1)).unwrap();
    log.update(|record| record.phase = phase).unwrap();
    for event in events {
        log.append(event).unwrap();
    }
    reopened(&directory).log(&run(1)).unwrap().record().phase.clone()
}

#[test]
fn reports_wait_in_order_until_they_are_delivered_also_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let mut journal = reopened(&directory);
    let log = journal.create(record(1)).unwrap();
    for text in ["one", "two", "three"] {
        log.append(progress(text)).unwrap();
    }
    assert_eq!(log.next_report().unwrap().seq, 1);
    log.delivered(1).unwrap();
    let mut journal = reopened(&directory);
    assert_eq!(journal.waiting(), 2);
    let log = journal.log_mut(&run(1)).unwrap();
    assert_eq!(log.next_report().unwrap().event, progress("two"));
    log.append(progress("four")).unwrap();
    assert_eq!(log.last_seq(), 4);
}

#[test]
fn a_vm_that_lost_its_volume_repeats_no_number() {
    let accepted_at = Timestamp(1_800_000_000_000);
    let directory = tempfile::tempdir().unwrap();
    let mut journal = reopened(&directory);
    let log = journal.create(RunRecord { accepted_at, ..record(1) }).unwrap();
    log.append(progress("one")).unwrap();
    assert!(log.next_report().unwrap().seq > accepted_at.as_millis());
}

#[test]
fn half_a_line_is_cut_off_and_its_number_given_again() {
    let directory = tempfile::tempdir().unwrap();
    reopened(&directory).create(record(1)).unwrap().append(progress("one")).unwrap();
    let path = directory.path().join(run(1).as_str()).join(EVENTS_FILE);
    let mut text = fs::read(&path).unwrap();
    text.extend_from_slice(b"{\"seq\":2,\"eve");
    fs::write(&path, text).unwrap();
    let mut journal = reopened(&directory);
    journal.log_mut(&run(1)).unwrap().append(progress("two")).unwrap();
    let mut journal = reopened(&directory);
    let log = journal.log_mut(&run(1)).unwrap();
    log.delivered(1).unwrap();
    assert_eq!(log.next_report().unwrap().event, progress("two"));
}

#[test]
fn a_crash_between_event_and_record_is_caught_up_with() {
    let over = Phase::Over { decided: None };
    let awaiting = Phase::AwaitingApproval { tree: tree() };
    for (phase, events, expected) in [
        (Phase::Accepted, vec![], Phase::Accepted),
        (Phase::Working, vec![progress("x")], Phase::Working),
        (Phase::Working, vec![changes()], awaiting.clone()),
        (Phase::Working, vec![cancelled()], over.clone()),
        (Phase::Cancelling, vec![changes()], Phase::Cancelling),
        (Phase::Cancelling, vec![changes(), cancelled()], over.clone()),
        (awaiting.clone(), vec![changes()], awaiting),
        (over.clone(), vec![changes(), cancelled()], over),
    ] {
        assert_eq!(after_a_crash(phase.clone(), events.clone()), expected, "{phase:?} {events:?}");
    }
}

#[test]
fn a_decision_is_carried_out_again_only_when_its_result_was_not_written() {
    let failed = VmEvent::Decided {
        decision: Decision::Approve,
        result: DecisionResult::Failed { reason: "push refused".to_owned() },
    };
    let rolled_back = VmEvent::Decided { decision: Decision::Reject, result: DecisionResult::RolledBack };
    let deciding = |decision, after_seq| Phase::Deciding { tree: tree(), decision, after_seq };
    let first = deciding(Decision::Approve, 1);
    assert_eq!(after_a_crash(first.clone(), vec![changes()]), first);
    assert_eq!(after_a_crash(first, vec![changes(), failed.clone()]), Phase::AwaitingApproval { tree: tree() });
    let second = deciding(Decision::Reject, 2);
    assert_eq!(after_a_crash(second.clone(), vec![changes(), failed.clone()]), second);
    let decided = Decided { tree: tree(), decision: Decision::Reject, result: DecisionResult::RolledBack };
    assert_eq!(after_a_crash(second, vec![changes(), failed, rolled_back]), Phase::Over { decided: Some(decided) });
}

#[test]
fn a_relay_that_is_away_for_long_costs_progress_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let mut journal = reopened(&directory);
    let log = journal.create(record(1)).unwrap();
    log.append(VmEvent::Beat).unwrap();
    log.append(VmEvent::Beat).unwrap();
    assert_eq!(log.last_seq(), 1);
    for number in 0..WAITING_MAX + 10 {
        log.append(progress(&number.to_string())).unwrap();
    }
    assert_eq!(log.last_seq(), WAITING_MAX as u64);
    log.append(changes()).unwrap();
    assert_eq!(log.last_seq(), WAITING_MAX as u64 + 1);
    assert_eq!(journal.waiting(), WAITING_MAX + 1);
}

#[test]
fn the_end_that_is_told_again_is_the_last_one_that_was_told() {
    let decided = VmEvent::Decided { decision: Decision::Reject, result: DecisionResult::RolledBack };
    for (events, expected) in [
        (vec![cancelled()], Some(cancelled())),
        (vec![changes(), cancelled()], Some(cancelled())),
        (vec![changes(), decided.clone(), VmEvent::Beat], Some(decided)),
        (vec![progress("x")], None),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = reopened(&directory);
        let log = journal.create(record(1)).unwrap();
        for event in events {
            log.append(event).unwrap();
        }
        let told = log.last_seq();
        log.delivered(told).unwrap();
        log.repeat_end().unwrap();
        let repeated = log.next_report();
        assert!(repeated.iter().all(|report| report.seq == told + 1));
        assert_eq!(repeated.map(|report| report.event), expected);
    }
}

#[test]
fn only_old_runs_that_are_over_and_reported_are_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let mut journal = reopened(&directory);
    journal.create(record(1)).unwrap();
    let unreported = journal.create(record(2)).unwrap();
    unreported.append(cancelled()).unwrap();
    unreported.update(|record| record.phase = Phase::Over { decided: None }).unwrap();
    for number in 3..OVER_MAX as u64 + 10 {
        let accepted_at = Timestamp(number);
        let log = journal.create(RunRecord { accepted_at, ..record(number) }).unwrap();
        log.update(|record| record.phase = Phase::Over { decided: None }).unwrap();
    }
    assert!(journal.log(&run(1)).is_some() && journal.log(&run(2)).is_some());
    assert!(journal.log(&run(3)).is_none() && !directory.path().join(run(3).as_str()).exists());
    assert_eq!(journal.logs().count(), OVER_MAX + 2);
}

#[test]
fn an_unreadable_run_does_not_hide_the_others() {
    let directory = tempfile::tempdir().unwrap();
    reopened(&directory).create(record(1)).unwrap();
    fs::create_dir(directory.path().join("broken")).unwrap();
    assert_eq!(reopened(&directory).logs().count(), 1);
}

#[test]
fn a_cancellation_that_cannot_be_written_is_kept_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let mut journal = reopened(&directory);
    let log = journal.create(record(1)).unwrap();
    // What is in the place of the record's next version keeps it from being written.
    let in_the_way = log.directory.join("run.new");
    fs::create_dir(&in_the_way).unwrap();
    assert!(log.update(|record| record.phase = Phase::Working).is_err());
    log.cancel().unwrap();
    assert_eq!(log.record().phase, Phase::Cancelling);
    assert_eq!(reopened(&directory).log(&run(1)).unwrap().record().phase, Phase::Cancelling);

    fs::remove_dir(&in_the_way).unwrap();
    let mut journal = reopened(&directory);
    let over = Phase::Over { decided: None };
    journal.log_mut(&run(1)).unwrap().update(|record| record.phase = over.clone()).unwrap();
    assert_eq!(reopened(&directory).log(&run(1)).unwrap().record().phase, over);
}
