//! The life of a generation: call to join, join phase, assignment, and what ends each of them.
//!
//! Follows Kafka's `GroupMetadataManager` step by step; where Kafka leaves a request unanswered
//! (a second join of the same member, a sync of a member that leaves) it is answered here.

use std::sync::Arc;

use bytes::Bytes;
use wire::ErrorCode;

use crate::cluster::Cluster;
use crate::group::{Group, InitialDelay, State};
use crate::member::Waiter;
use crate::record::Record;
use crate::response::{GroupResponse, JoinResponse, JoinedMember, SyncResponse};
use crate::settings::{POSTPONED_JOIN_MS_MIN, Settings};
use crate::shard::Effects;
use crate::time::{Alarm, Alarms, Now};

/// Everything a step of a group may touch besides the group.
pub(crate) struct Stage<'a> {
    pub(crate) now: Now,
    pub(crate) settings: &'a Settings,
    pub(crate) cluster: &'a dyn Cluster,
    pub(crate) alarms: &'a mut Alarms,
    pub(crate) effects: &'a mut Effects,
}

impl Stage<'_> {
    pub(crate) fn answer(&mut self, to: Waiter, response: GroupResponse) {
        self.effects
            .replies
            .push((to.token, response.shaped(to.version)));
    }

    pub(crate) fn alarm_in(&mut self, alarm: Alarm, ms: i64) {
        self.alarms.set(alarm, self.now.monotonic.after_ms(ms));
    }
}

impl Group {
    fn enter(&mut self, state: State, stage: &Stage) {
        self.state = state;
        self.since_ms = Some(stage.now.wall_ms);
    }

    /// Gives a member, or pending member, the time it may now be silent.
    pub(crate) fn expect_heartbeat(&mut self, stage: &mut Stage, member: &Arc<str>, ms: i64) {
        stage.alarm_in(Alarm::Session(self.id.clone(), member.clone()), ms);
    }

    pub(crate) fn renew_session(&mut self, stage: &mut Stage, member: &str) {
        if let Some((id, timeout)) = self
            .members
            .get(member)
            .map(|m| (m.id.clone(), i64::from(m.session_timeout_ms)))
        {
            self.expect_heartbeat(stage, &id, timeout);
        }
    }

    /// Answers whatever a member waits for with `error`.
    pub(crate) fn turn_away(&mut self, stage: &mut Stage, member: &str, error: ErrorCode) {
        // A fenced member is told the id it had, others to begin anew.
        let named: Arc<str> = match error {
            ErrorCode::FencedInstanceId => Arc::from(member),
            _ => Arc::from(""),
        };
        if let Some(waiter) = self.take_join(member) {
            stage.answer(
                waiter,
                GroupResponse::Join(JoinResponse::refused(error, named)),
            );
        }
        if let Some(waiter) = self.take_sync(member) {
            stage.answer(waiter, GroupResponse::Sync(SyncResponse::refused(error)));
        }
    }

    /// Removes a member, answering what it waits for: UNKNOWN_MEMBER_ID, so that a client that is
    /// still there joins again.
    pub(crate) fn expel(&mut self, stage: &mut Stage, member: &str) {
        self.turn_away(stage, member, ErrorCode::UnknownMemberId);
        stage
            .alarms
            .cancel(&Alarm::Session(self.id.clone(), Arc::from(member)));
        self.remove(member);
    }

    /// Starts a rebalance if none is in its join phase, else ends that phase if it can.
    pub(crate) fn rebalance_or_complete(&mut self, stage: &mut Stage) {
        match self.state {
            State::Preparing { .. } => self.complete_if_all_rejoined(stage),
            _ => self.prepare_rebalance(stage),
        }
    }

    /// Ends the join phase if everybody is there. The first phase of a group ends by its delay only.
    pub(crate) fn complete_if_all_rejoined(&mut self, stage: &mut Stage) {
        if self.state == (State::Preparing { initial: false }) && self.all_joined() {
            self.complete_join(stage);
        }
    }

    /// Calls all members to join.
    pub(crate) fn prepare_rebalance(&mut self, stage: &mut Stage) {
        stage.effects.rebalances.classic += 1;
        if self.state == State::Completing {
            self.hand_out(stage, ErrorCode::RebalanceInProgress, |_| Bytes::new());
            for member in self.members.values_mut() {
                member.assignment = Bytes::new();
            }
        }
        self.pending_sync.clear();
        stage.alarms.cancel(&Alarm::Sync(self.id.clone()));

        let initial = self.state == State::Empty;
        self.enter(State::Preparing { initial }, stage);
        if initial {
            // rule G2
            let step_ms = i64::from(stage.settings.initial_rebalance_delay_ms.max(0));
            let left_ms = (self.rebalance_timeout_ms() - step_ms).max(0);
            self.member_added = false;
            self.initial_delay = Some(InitialDelay { step_ms, left_ms });
            stage.alarm_in(Alarm::Join(self.id.clone()), step_ms);
        } else if self.all_joined() {
            self.complete_join(stage);
        } else {
            let patience = self.rebalance_timeout_ms();
            stage.alarm_in(Alarm::Join(self.id.clone()), patience);
        }
    }

    /// The join phase's time is up. The first one is prolonged while newcomers arrive. // rule G2
    pub(crate) fn join_time_is_up(&mut self, stage: &mut Stage) {
        if !matches!(self.state, State::Preparing { .. }) {
            return;
        }
        if let Some(delay) = self.initial_delay.take()
            && self.member_added
            && delay.left_ms > 0
        {
            self.member_added = false;
            let step_ms =
                i64::from(stage.settings.initial_rebalance_delay_ms.max(0)).min(delay.left_ms);
            let left_ms = (delay.left_ms - delay.step_ms).max(0);
            self.initial_delay = Some(InitialDelay { step_ms, left_ms });
            stage.alarm_in(Alarm::Join(self.id.clone()), step_ms);
            return;
        }
        self.complete_join(stage);
    }

    /// Ends the join phase: who did not come (unless static) is out, the rest is the next
    /// generation. // rule G3
    pub(crate) fn complete_join(&mut self, stage: &mut Stage) {
        stage.alarms.cancel(&Alarm::Join(self.id.clone()));
        self.initial_delay = None;
        let absent: Vec<Arc<str>> = self
            .members
            .values()
            .filter(|member| member.awaiting_join.is_none() && member.instance.is_none())
            .map(|member| member.id.clone())
            .collect();
        for member in absent {
            self.expel(stage, &member);
        }

        if !self.members.is_empty() && !self.lead_by_somebody_present() {
            // Only static members are left and none came: keep the places until their sessions
            // end or one of them comes.
            let patience = self.rebalance_timeout_ms().max(POSTPONED_JOIN_MS_MIN);
            stage.alarm_in(Alarm::Join(self.id.clone()), patience);
            return;
        }

        self.generation = self.generation.wrapping_add(1).max(0);
        self.pending_sync.clear();
        if self.members.is_empty() {
            self.become_empty(stage);
            return;
        }
        self.protocol = self.select_protocol();
        self.subscribed = self.subscribed_topics();
        self.enter(State::Completing, stage);
        let ids: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for id in ids {
            if let Some(waiter) = self.take_join(&id) {
                let response = self.join_answer(&id, self.is_leader(&id));
                stage.answer(waiter, GroupResponse::Join(response));
            }
            self.renew_session(stage, &id);
            if let Some(member) = self.members.get_mut(&id) {
                member.is_new = false;
            }
            self.pending_sync.insert(id);
        }
        let patience = self.rebalance_timeout_ms();
        stage.alarm_in(Alarm::Sync(self.id.clone()), patience);
    }

    /// A generation without members, written so that it survives.
    pub(crate) fn become_empty(&mut self, stage: &mut Stage) {
        self.leader = None;
        self.protocol = None;
        self.subscribed = self.subscribed_topics();
        self.enter(State::Empty, stage);
        let image = self.project(|_| Bytes::new());
        stage.effects.records.push(Record::group(&self.id, &image));
    }

    /// Ends whatever the group is in the middle of, without members: a new, empty generation. Its
    /// members must have been expelled. Ids given to newcomers lapse.
    pub(crate) fn empty_by_force(&mut self, stage: &mut Stage) {
        stage.alarms.cancel(&Alarm::Join(self.id.clone()));
        stage.alarms.cancel(&Alarm::Sync(self.id.clone()));
        self.initial_delay = None;
        for member in std::mem::take(&mut self.pending_join) {
            stage
                .alarms
                .cancel(&Alarm::Session(self.id.clone(), member));
        }
        self.generation = self.generation.wrapping_add(1).max(0);
        self.become_empty(stage);
    }

    /// The lead goes to somebody who joined, if anybody did.
    fn lead_by_somebody_present(&mut self) -> bool {
        let present = |group: &Group, id: &Arc<str>| {
            group
                .members
                .get(id)
                .is_some_and(|member| member.awaiting_join.is_some())
        };
        if self.leader.as_ref().is_some_and(|id| present(self, id)) {
            return true;
        }
        let next = self.members.keys().find(|id| present(self, id)).cloned();
        let found = next.is_some();
        if found {
            self.leader = next;
        }
        found
    }

    /// What a member of the current generation is told; `with_members` for the leader. // rule G3
    pub(crate) fn join_answer(&self, member: &Arc<str>, with_members: bool) -> JoinResponse {
        let protocol = self.protocol.as_deref().unwrap_or("");
        let members = if with_members {
            self.members
                .values()
                .map(|member| JoinedMember {
                    member_id: member.id.clone(),
                    instance_id: member.instance.clone(),
                    metadata: member.metadata(protocol),
                })
                .collect()
        } else {
            Vec::new()
        };
        JoinResponse {
            error: ErrorCode::None,
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_else(|| Arc::from("")),
            skip_assignment: false,
            member_id: member.clone(),
            members,
        }
    }

    pub(crate) fn sync_answer(&self, assignment: Bytes) -> SyncResponse {
        SyncResponse {
            error: ErrorCode::None,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            assignment,
        }
    }

    /// Answers all who wait for the assignment, and restarts their sessions.
    fn hand_out(
        &mut self,
        stage: &mut Stage,
        error: ErrorCode,
        assignment: impl Fn(&str) -> Bytes,
    ) {
        let ids: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for id in ids {
            let Some(waiter) = self.take_sync(&id) else {
                continue;
            };
            let response = match error {
                ErrorCode::None => self.sync_answer(assignment(&id)),
                _ => SyncResponse::refused(error),
            };
            stage.answer(waiter, GroupResponse::Sync(response));
            self.renew_session(stage, &id);
        }
    }

    /// The leader's assignment: written as this generation, which applying the record makes stable,
    /// and handed out with it. One that does not fit a record is refused and the group rebalances.
    pub(crate) fn assign(
        &mut self,
        stage: &mut Stage,
        assignments: &std::collections::BTreeMap<Arc<str>, Bytes>,
    ) {
        let given = |id: &str| assignments.get(id).cloned().unwrap_or_default();
        let image = self.project(|member| given(&member.id));
        let record = Record::group(&self.id, &image);
        let size = record.key.len() + record.value.as_ref().map_or(0, Bytes::len);
        if size > stage.settings.group_record_bytes_max {
            self.hand_out(stage, ErrorCode::UnknownServerError, given);
            self.prepare_rebalance(stage);
            return;
        }
        stage.effects.records.push(record);
        self.hand_out(stage, ErrorCode::None, given);
    }

    /// Members that joined but did not sync in time are out, and the rest rebalances.
    pub(crate) fn sync_time_is_up(&mut self, stage: &mut Stage) {
        if !matches!(self.state, State::Completing | State::Stable) || self.pending_sync.is_empty()
        {
            return;
        }
        for member in std::mem::take(&mut self.pending_sync) {
            self.expel(stage, &member);
        }
        self.prepare_rebalance(stage);
    }

    /// A member, or pending member, has been silent for its session timeout.
    pub(crate) fn session_is_up(&mut self, stage: &mut Stage, member: &str) {
        if self.pending_join.contains(member) {
            // rule G1
            self.remove(member);
            if matches!(self.state, State::Preparing { .. }) && self.all_joined() {
                self.complete_join(stage);
            }
            return;
        }
        if self
            .members
            .get(member)
            .is_none_or(|m| m.is_excused_from_heartbeats())
        {
            return;
        }
        self.expel(stage, member);
        match self.state {
            State::Stable | State::Completing => self.prepare_rebalance(stage),
            State::Preparing { .. } if self.all_joined() => self.complete_join(stage),
            _ => {}
        }
    }
}
