//! JoinGroup, SyncGroup, Heartbeat, LeaveGroup.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use wire::ErrorCode;

use crate::group::{Group, State, bytes_of};
use crate::member::{Member, Waiter, kept, timeouts};
use crate::rebalance::Stage;
use crate::record::Record;
use crate::request::{
    Caller, HeartbeatRequest, JoinRequest, LeaveRequest, LeavingMember, SyncRequest,
};
use crate::response::{GroupResponse, JoinResponse, LeaveResponse, LeftMember, SyncResponse};
use crate::settings::{
    MEMBER_ID_PREFIX_BYTES_MAX, MEMBER_METADATA_BYTES_MAX, PROTOCOLS_PER_MEMBER_MAX,
};
use crate::time::Alarm;

/// From this version on, a new dynamic member is first given an id and must come back with it.
pub(crate) const JOIN_MEMBER_ID_REQUIRED: i16 = 4;
/// From this version on, a static leader may be told that no assignment is needed (KIP-814).
const JOIN_SKIP_ASSIGNMENT: i16 = 9;
/// From this version on, SyncGroup must name protocol type and protocol (KIP-559).
pub(crate) const SYNC_PROTOCOL_REQUIRED: i16 = 5;

/// Refusals that need no group. `Ok` means the request may go on.
pub(crate) fn check_join(join: &JoinRequest, stage: &Stage) -> Result<(), ErrorCode> {
    let settings = stage.settings;
    let timeouts = settings.session_timeout_ms_min..=settings.session_timeout_ms_max;
    let bytes = bytes_of(&join.protocols);
    if join.group.is_empty() {
        Err(ErrorCode::InvalidGroupId)
    } else if !timeouts.contains(&join.session_timeout_ms) {
        Err(ErrorCode::InvalidSessionTimeout)
    } else if join.protocols.len() > PROTOCOLS_PER_MEMBER_MAX || bytes > MEMBER_METADATA_BYTES_MAX {
        Err(ErrorCode::InvalidRequest)
    } else {
        Ok(())
    }
}

impl Group {
    /// JoinGroup, with the settings' limits already checked. Answers now or when the join phase ends.
    pub(crate) fn join(
        &mut self,
        stage: &mut Stage,
        caller: &Caller,
        waiter: Waiter,
        join: &JoinRequest,
    ) {
        let refuse = |stage: &mut Stage, error: ErrorCode, member_id: &Arc<str>| {
            let refused = JoinResponse::refused(error, member_id.clone());
            stage.answer(waiter, GroupResponse::Join(refused));
        };
        let nobody: Arc<str> = Arc::from("");
        if !self.has_room(stage, &join.member_id) {
            if self.members.contains_key(&join.member_id) {
                self.expel(stage, &join.member_id);
            }
            self.pending_join.remove(&join.member_id);
            refuse(stage, ErrorCode::GroupMaxSizeReached, &nobody);
        } else if self.metadata_bytes_with(&join.member_id, &join.protocols)
            > stage.settings.group_metadata_bytes_max
        {
            refuse(stage, ErrorCode::GroupMaxSizeReached, &join.member_id);
        } else if !self.supports(&join.protocol_type, &join.protocols) {
            refuse(stage, ErrorCode::InconsistentGroupProtocol, &join.member_id);
        } else if join.member_id.is_empty() {
            self.join_new(stage, caller, waiter, join);
        } else if self.pending_join.contains(&join.member_id) {
            if join.instance_id.is_some() {
                // Only dynamic members are pending, so this is not the client that was given the id.
                refuse(stage, ErrorCode::UnknownMemberId, &join.member_id);
            } else {
                self.admit(stage, caller, waiter, join, join.member_id.clone());
            }
        } else if let Err(error) = self.check_member(&join.member_id, join.instance_id.as_deref()) {
            refuse(stage, error, &join.member_id);
        } else {
            self.rejoin(stage, caller, waiter, join);
        }
    }

    /// Whether the group may take this joiner. While members gather, those waiting count, so that a
    /// lowered limit turns away the last to come; afterwards those who are in.
    fn has_room(&self, stage: &Stage, member: &str) -> bool {
        let max = stage.settings.group_size_max;
        let pending_max = member.is_empty() && self.pending_join.len() >= max;
        match self.state {
            _ if pending_max => false,
            State::Empty => true,
            State::Preparing { .. } => {
                self.members
                    .get(member)
                    .is_some_and(|m| m.awaiting_join.is_some())
                    || self.awaiting_join < max
            }
            State::Completing | State::Stable => {
                self.members.contains_key(member) || self.members.len() < max
            }
        }
    }

    fn join_new(&mut self, stage: &mut Stage, caller: &Caller, waiter: Waiter, join: &JoinRequest) {
        let prefix = join.instance_id.as_deref().unwrap_or(&caller.client_id);
        let id = member_id(prefix, caller.chance);
        if self.members.contains_key(&id) || self.pending_join.contains(&id) {
            // Chance has failed its caller; the client may try again.
            let refused = JoinResponse::refused(ErrorCode::CoordinatorNotAvailable, Arc::from(""));
            stage.answer(waiter, GroupResponse::Join(refused));
            return;
        }
        match &join.instance_id {
            Some(instance) => match self.statics.get(instance).cloned() {
                Some(former) => self.replace_static(stage, caller, waiter, join, &former, id),
                None => self.admit(stage, caller, waiter, join, id),
            },
            None if caller.version >= JOIN_MEMBER_ID_REQUIRED => {
                // rule G1
                self.pending_join.insert(id.clone());
                self.expect_heartbeat(stage, &id, i64::from(join.session_timeout_ms));
                let refused = JoinResponse::refused(ErrorCode::MemberIdRequired, id);
                stage.answer(waiter, GroupResponse::Join(refused));
            }
            None => self.admit(stage, caller, waiter, join, id),
        }
    }

    /// A member comes in, and with it a rebalance.
    fn admit(
        &mut self,
        stage: &mut Stage,
        caller: &Caller,
        waiter: Waiter,
        join: &JoinRequest,
        id: Arc<str>,
    ) {
        if self.state == (State::Preparing { initial: true }) {
            self.member_added = true;
        }
        if self.members.is_empty() {
            self.protocol_type = Some(join.protocol_type.clone());
        }
        self.add(Member::joining(caller, join, id.clone()));
        self.await_join(&id, waiter);
        // The client has no id to send heartbeats with, and its going away cannot be seen; so only
        // a long wait ends it, and a client still there asks again.
        let patience = i64::from(stage.settings.new_member_join_timeout_ms);
        self.expect_heartbeat(stage, &id, patience);
        self.rebalance_or_complete(stage);
    }

    /// A known member asks again. // rule G5
    fn rejoin(&mut self, stage: &mut Stage, caller: &Caller, waiter: Waiter, join: &JoinRequest) {
        let id = join.member_id.clone();
        let unchanged = self
            .members
            .get(&id)
            .is_some_and(|member| member.protocols == join.protocols);
        match self.state {
            State::Completing if unchanged => {
                // Its answer was probably lost.
                let response = self.join_answer(&id, self.is_leader(&id));
                stage.answer(waiter, GroupResponse::Join(response));
            }
            State::Stable if unchanged && !self.is_leader(&id) => {
                let response = self.join_answer(&id, false);
                stage.answer(waiter, GroupResponse::Join(response));
            }
            State::Preparing { .. } | State::Completing | State::Stable => {
                self.update(stage, caller, waiter, join, &id);
                self.rebalance_or_complete(stage);
            }
            // An empty group has no members, so this one is not known.
            State::Empty => {
                let refused = JoinResponse::refused(ErrorCode::UnknownMemberId, id);
                stage.answer(waiter, GroupResponse::Join(refused));
            }
        }
    }

    /// Takes what a member's join says and lets it wait. An earlier join of it, whose client has
    /// given up on it, ends.
    fn update(
        &mut self,
        stage: &mut Stage,
        caller: &Caller,
        waiter: Waiter,
        join: &JoinRequest,
        id: &Arc<str>,
    ) {
        self.reoffer(id, kept(&join.protocols));
        if let Some(member) = self.members.get_mut(id) {
            (member.session_timeout_ms, member.rebalance_timeout_ms) = timeouts(caller, join);
        }
        if let Some(former) = self.await_join(id, waiter) {
            let refused = JoinResponse::refused(ErrorCode::RebalanceInProgress, id.clone());
            stage.answer(former, GroupResponse::Join(refused));
        }
    }

    /// The same instance comes back under a new member id. // rule G7
    fn replace_static(
        &mut self,
        stage: &mut Stage,
        caller: &Caller,
        waiter: Waiter,
        join: &JoinRequest,
        former: &Arc<str>,
        id: Arc<str>,
    ) {
        let former_leader = self.leader.clone();
        self.turn_away(stage, former, ErrorCode::FencedInstanceId);
        stage
            .alarms
            .cancel(&Alarm::Session(self.id.clone(), former.clone()));
        self.rename(former, id.clone());
        self.renew_session(stage, &id);
        self.update(stage, caller, waiter, join, &id);

        match self.state {
            State::Stable if self.select_protocol() == self.protocol => {
                // Nothing changes for anybody else: keep the assignment, remember the new id.
                let image = self.project(|member| member.assignment.clone());
                stage.effects.records.push(Record::group(&self.id, &image));
                self.subscribed = self.subscribed_topics();
                self.take_join(&id);
                let mut response;
                if caller.version >= JOIN_SKIP_ASSIGNMENT {
                    let leads = self.is_leader(&id);
                    response = self.join_answer(&id, leads);
                    response.skip_assignment = leads;
                } else {
                    // An older leader would compute an assignment if it knew that it leads, and
                    // nobody would ask for it: it is told the id it had before.
                    response = self.join_answer(&id, false);
                    response.leader = former_leader.unwrap_or_else(|| Arc::from(""));
                }
                stage.answer(waiter, GroupResponse::Join(response));
            }
            State::Stable => self.rebalance_or_complete(stage),
            // The leader may already be assigning to the former id.
            State::Completing => self.prepare_rebalance(stage),
            State::Preparing { .. } | State::Empty => self.complete_if_all_rejoined(stage),
        }
    }

    /// SyncGroup: the leader brings the assignment, everybody fetches theirs. // rule G3
    pub(crate) fn sync(
        &mut self,
        stage: &mut Stage,
        caller: &Caller,
        waiter: Waiter,
        sync: SyncRequest,
    ) {
        if let Err(error) = self.check_sync(caller, &sync) {
            stage.answer(waiter, GroupResponse::Sync(SyncResponse::refused(error)));
            return;
        }
        let id = &sync.member_id;
        self.pending_sync.remove(id);
        if self.pending_sync.is_empty() {
            stage.alarms.cancel(&Alarm::Sync(self.id.clone()));
        }
        let leads = self.is_leader(id);
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        if self.state == State::Stable {
            let assignment = member.assignment.clone();
            let response = self.sync_answer(assignment);
            stage.answer(waiter, GroupResponse::Sync(response));
            return;
        }
        if let Some(former) = member.awaiting_sync.replace(waiter) {
            let refused = SyncResponse::refused(ErrorCode::RebalanceInProgress);
            stage.answer(former, GroupResponse::Sync(refused));
        }
        if leads {
            let assignments: BTreeMap<Arc<str>, bytes::Bytes> =
                sync.assignments.into_iter().collect();
            self.assign(stage, &assignments);
        }
    }

    fn check_sync(&self, caller: &Caller, sync: &SyncRequest) -> Result<(), ErrorCode> {
        let differs = |asked: &Option<Arc<str>>, ours: &Option<Arc<str>>| matches!((asked, ours), (Some(asked), Some(ours)) if asked != ours);
        if caller.version >= SYNC_PROTOCOL_REQUIRED
            && (sync.protocol_type.is_none() || sync.protocol_name.is_none())
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        if self.state == State::Empty {
            return Err(ErrorCode::UnknownMemberId);
        }
        self.check_member(&sync.member_id, sync.instance_id.as_deref())?;
        if sync.generation != self.generation {
            Err(ErrorCode::IllegalGeneration)
        } else if differs(&sync.protocol_type, &self.protocol_type)
            || differs(&sync.protocol_name, &self.protocol)
        {
            Err(ErrorCode::InconsistentGroupProtocol)
        } else if matches!(self.state, State::Preparing { .. }) {
            Err(ErrorCode::RebalanceInProgress)
        } else {
            Ok(())
        }
    }

    /// Heartbeat. // rule G4
    pub(crate) fn heartbeat(
        &mut self,
        stage: &mut Stage,
        heartbeat: &HeartbeatRequest,
    ) -> ErrorCode {
        if let Err(error) =
            self.check_member(&heartbeat.member_id, heartbeat.instance_id.as_deref())
        {
            return error;
        }
        if heartbeat.generation != self.generation {
            return ErrorCode::IllegalGeneration;
        }
        match self.state {
            State::Empty => ErrorCode::UnknownMemberId,
            State::Preparing { .. } => {
                self.renew_session(stage, &heartbeat.member_id);
                ErrorCode::RebalanceInProgress
            }
            State::Completing | State::Stable => {
                self.renew_session(stage, &heartbeat.member_id);
                ErrorCode::None
            }
        }
    }

    /// LeaveGroup, of one or many.
    pub(crate) fn leave(&mut self, stage: &mut Stage, leave: &LeaveRequest) -> LeaveResponse {
        let members: Vec<LeftMember> = leave
            .members
            .iter()
            .map(|member| LeftMember::of(member, self.leave_one(stage, member)))
            .collect();
        if members.iter().any(|member| member.error == ErrorCode::None) {
            match self.state {
                State::Stable | State::Completing => self.prepare_rebalance(stage),
                State::Preparing { .. } => self.complete_if_all_rejoined(stage),
                State::Empty => {}
            }
        }
        LeaveResponse {
            error: ErrorCode::None,
            members,
        }
    }

    fn leave_one(&mut self, stage: &mut Stage, leaving: &LeavingMember) -> ErrorCode {
        let instance = leaving.instance_id.as_deref();
        if leaving.member_id.is_empty() {
            // An administrator removes a static member by its instance id. // rule G7
            let Some(member) = instance.and_then(|id| self.statics.get(id).cloned()) else {
                return ErrorCode::UnknownMemberId;
            };
            self.expel(stage, &member);
        } else if self.pending_join.contains(&leaving.member_id) {
            self.expel(stage, &leaving.member_id);
        } else if let Err(error) = self.check_member(&leaving.member_id, instance) {
            return error;
        } else {
            self.expel(stage, &leaving.member_id);
        }
        ErrorCode::None
    }
}

/// A member id as Kafka makes them: a readable prefix and a random UUID.
fn member_id(prefix: &str, chance: u128) -> Arc<str> {
    let bits = chance & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let prefix = &prefix[..prefix.floor_char_boundary(MEMBER_ID_PREFIX_BYTES_MAX)];
    let mut id = String::with_capacity(prefix.len() + 37);
    id.push_str(prefix);
    for (digits, shift) in [(8, 96), (4, 80), (4, 64), (4, 48), (12, 0)] {
        let part = (bits >> shift) & ((1u128 << (digits * 4)) - 1);
        // Writing to a String does not fail.
        let _ = write!(id, "-{part:0width$x}", width = digits);
    }
    Arc::from(id)
}
