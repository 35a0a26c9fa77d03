//! Members that speak the classic protocol, in a consumer group: to them it looks as if a leader
//! somewhere were assigning. // rule N7
//!
//! A join answers with the member's epoch as the generation, and nobody is ever told to lead; a sync
//! answers with what the member has; a heartbeat calls it to join again when there is something to
//! give up or to get.

use std::sync::Arc;

use wire::ErrorCode;
use wire::ids::TopicId;

use crate::consumer::ConsumerGroup;
use crate::consumer::heartbeat::{Arrival, Refusal};
use crate::consumer::member::{ClassicPart, ConsumerMember, MemberState, without_epochs};
use crate::consumer::migration::{by_id, by_name};
use crate::group::Group;
use crate::member::{Waiter, kept, timeouts};
use crate::membership::{JOIN_MEMBER_ID_REQUIRED, SYNC_PROTOCOL_REQUIRED};
use crate::rebalance::Stage;
use crate::request::{
    Caller, HeartbeatRequest, JoinRequest, LeaveRequest, LeavingMember, SyncRequest,
};
use crate::response::{GroupResponse, JoinResponse, LeaveResponse, LeftMember, SyncResponse};
use crate::subscription::{self, CONSUMER};
use crate::time::Alarm;

impl Group {
    /// JoinGroup in a consumer group that has members. Always answers at once.
    pub(crate) fn consumer_join(
        &mut self,
        stage: &mut Stage,
        caller: &Caller,
        waiter: Waiter,
        join: &JoinRequest,
    ) {
        let response = match self.try_consumer_join(stage, caller, join) {
            Ok(response) => response,
            Err((error, member_id)) => JoinResponse::refused(error, member_id),
        };
        stage.answer(waiter, GroupResponse::Join(response));
    }

    fn try_consumer_join(
        &mut self,
        stage: &mut Stage,
        caller: &Caller,
        join: &JoinRequest,
    ) -> Result<JoinResponse, (ErrorCode, Arc<str>)> {
        let refuse = |error| (error, join.member_id.clone());
        let refused = |refusal: Refusal| (refusal.error, join.member_id.clone());
        let Some(group) = &self.consumer else {
            return Err(refuse(ErrorCode::UnknownMemberId));
        };
        let is_new = join.member_id.is_empty();
        let member_id = if is_new {
            Arc::from(TopicId(caller.chance.to_be_bytes()).to_string())
        } else {
            join.member_id.clone()
        };
        group.check_room(stage, &member_id).map_err(refused)?;
        if !group.supports_classic(join) {
            return Err(refuse(ErrorCode::InconsistentGroupProtocol));
        }
        if is_new && join.instance_id.is_none() && caller.version >= JOIN_MEMBER_ID_REQUIRED {
            // rule G1; nothing is kept of it, whoever comes with an id is welcome here.
            return Err((ErrorCode::MemberIdRequired, member_id));
        }
        // Kafka fails here as well; a member whose subscription cannot be read cannot be assigned.
        let Some(said) = join
            .protocols
            .first()
            .and_then(|protocol| subscription::read(&protocol.metadata))
        else {
            return Err(refuse(ErrorCode::UnknownServerError));
        };

        let mut records = Vec::new();
        let nothing = Default::default();
        let member = group
            .arriving(
                &Arrival {
                    member_id: &member_id,
                    epoch: -1,
                    instance: join.instance_id.as_ref(),
                    reported: Some(&nothing),
                    may_join: is_new || join.instance_id.is_none(),
                    classic: true,
                },
                &mut records,
            )
            .map_err(refused)?;
        let replaced = join
            .instance_id
            .as_ref()
            .and_then(|instance| group.static_member(instance));
        let becomes_classic =
            replaced.is_some_and(|replaced| group.may_become_classic_with(stage, replaced));

        let (session_timeout_ms, rebalance_timeout_ms) = timeouts(caller, join);
        let mut updated = member.clone();
        if let Some(instance) = &join.instance_id {
            updated.instance = Some(instance.clone());
        }
        if said.rack.is_some() {
            updated.rack = said.rack.clone();
        }
        updated.rebalance_timeout_ms = rebalance_timeout_ms;
        updated.topics = said.topics.clone();
        updated.pattern = Arc::from("");
        updated.client_id = caller.client_id.clone();
        updated.client_host = caller.client_host.clone();
        updated.classic = Some(ClassicPart {
            session_timeout_ms,
            protocols: kept(&join.protocols),
        });
        let reported = by_id(stage.cluster, &said.owned);
        let mut seen = self.seen_topics;
        let change = group
            .take_up(stage, &member, updated, &mut seen, true, &mut records)
            .map_err(refused)?;

        let converted = match replaced {
            Some(replaced) if becomes_classic => {
                let rebalance = group.target_epoch < change.epoch;
                let mut joined = change.member.clone();
                if !rebalance {
                    joined = group
                        .reconcile(
                            stage,
                            &change.member,
                            group.target_epoch,
                            &group.target_of(&change.member),
                            change.subscription,
                            Some(&reported),
                            &mut records,
                        )
                        .map_err(refused)?;
                }
                group
                    .as_classic_with(stage, &replaced.id, &joined)
                    .map(|converted| (converted, joined, rebalance))
            }
            _ => None,
        };
        if let Some((converted, joined, rebalance)) = converted {
            stage.effects.records.append(&mut records);
            self.seen_topics = None;
            self.become_classic(stage, converted, rebalance);
            return Ok(answer(&joined));
        }

        let target = group.target_for(
            stage.cluster,
            stage.now,
            &group.target_settings(stage),
            change.epoch,
            &change.member,
            &mut records,
        );
        let updated = group
            .reconcile(
                stage,
                &change.member,
                target.epoch,
                &target.partitions,
                change.subscription,
                Some(&reported),
                &mut records,
            )
            .map_err(refused)?;
        self.seen_topics = seen;
        stage.effects.records.append(&mut records);
        let id = &updated.id;
        stage
            .alarms
            .cancel(&Alarm::Rejoin(self.id.clone(), id.clone()));
        stage
            .alarms
            .cancel(&Alarm::Revocation(self.id.clone(), id.clone()));
        stage.alarm_in(
            Alarm::Session(self.id.clone(), id.clone()),
            i64::from(session_timeout_ms),
        );
        stage.alarm_in(
            Alarm::Resync(self.id.clone(), id.clone()),
            i64::from(rebalance_timeout_ms),
        );
        Ok(answer(&updated))
    }

    /// SyncGroup in a consumer group: what the member has.
    pub(crate) fn consumer_sync(
        &mut self,
        stage: &mut Stage,
        caller: &Caller,
        waiter: Waiter,
        sync: &SyncRequest,
    ) {
        let response = match self.try_consumer_sync(stage, caller, sync) {
            Ok(response) => response,
            Err(error) => SyncResponse::refused(error),
        };
        stage.answer(waiter, GroupResponse::Sync(response));
    }

    fn try_consumer_sync(
        &self,
        stage: &mut Stage,
        caller: &Caller,
        sync: &SyncRequest,
    ) -> Result<SyncResponse, ErrorCode> {
        if caller.version >= SYNC_PROTOCOL_REQUIRED
            && (sync.protocol_type.is_none() || sync.protocol_name.is_none())
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        let Some(group) = &self.consumer else {
            return Err(ErrorCode::UnknownMemberId);
        };
        let member = group.classic_member(
            &sync.member_id,
            sync.instance_id.as_deref(),
            sync.generation,
        )?;
        let protocol = member
            .classic_protocol()
            .ok_or(ErrorCode::UnknownMemberId)?;
        let differs = |asked: &Option<Arc<str>>, ours: &str| {
            asked.as_deref().is_some_and(|asked| asked != ours)
        };
        if differs(&sync.protocol_type, CONSUMER) || differs(&sync.protocol_name, &protocol.name) {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        // One that is giving up partitions has joined already and goes on when it is done.
        if group.target_epoch > member.epoch && member.state != MemberState::Unrevoked {
            self.expect_rejoin(stage, member);
            return Err(ErrorCode::RebalanceInProgress);
        }
        let version = subscription::read(&protocol.metadata)
            .ok_or(ErrorCode::UnknownServerError)?
            .version;
        let has = by_name(stage.cluster, &without_epochs(&member.assigned));
        let id = &member.id;
        stage
            .alarms
            .cancel(&Alarm::Resync(self.id.clone(), id.clone()));
        self.renew_classic_session(stage, member);
        Ok(SyncResponse {
            error: ErrorCode::None,
            protocol_type: sync.protocol_type.clone(),
            protocol_name: sync.protocol_name.clone(),
            assignment: subscription::write_assignment(version, &has),
        })
    }

    /// Heartbeat of a classic member of a consumer group.
    pub(crate) fn consumer_classic_heartbeat(
        &mut self,
        stage: &mut Stage,
        heartbeat: &HeartbeatRequest,
    ) -> ErrorCode {
        let Some(group) = &self.consumer else {
            return ErrorCode::UnknownMemberId;
        };
        let member = match group.classic_member(
            &heartbeat.member_id,
            heartbeat.instance_id.as_deref(),
            heartbeat.generation,
        ) {
            Ok(member) => member,
            Err(error) => return error,
        };
        self.renew_classic_session(stage, member);
        let rejoins = member.epoch < group.target_epoch
            || match member.state {
                MemberState::Stable | MemberState::Unknown => false,
                MemberState::Unrevoked => true,
                MemberState::Unreleased => !group.waits_for_others(member),
            };
        if rejoins {
            self.expect_rejoin(stage, member);
            return ErrorCode::RebalanceInProgress;
        }
        ErrorCode::None
    }

    /// LeaveGroup in a consumer group: members of either protocol, by an administrator too.
    pub(crate) fn consumer_group_leave(
        &mut self,
        stage: &mut Stage,
        leave: &LeaveRequest,
    ) -> LeaveResponse {
        let mut gone: Vec<Arc<str>> = Vec::new();
        let mut members = Vec::new();
        if let Some(group) = &self.consumer {
            for leaving in &leave.members {
                let error = match group.leaving(leaving) {
                    Ok(id) if gone.contains(&id) => ErrorCode::None,
                    Ok(id) => {
                        gone.push(id);
                        ErrorCode::None
                    }
                    Err(error) => error,
                };
                members.push(LeftMember::of(leaving, error));
            }
        }
        self.fence(stage, &gone);
        LeaveResponse {
            error: ErrorCode::None,
            members,
        }
    }

    fn renew_classic_session(&self, stage: &mut Stage, member: &ConsumerMember) {
        if let Some(classic) = &member.classic {
            let alarm = Alarm::Session(self.id.clone(), member.id.clone());
            stage.alarm_in(alarm, i64::from(classic.session_timeout_ms));
        }
    }

    /// Called to join, a member has so long to come.
    fn expect_rejoin(&self, stage: &mut Stage, member: &ConsumerMember) {
        let alarm = Alarm::Rejoin(self.id.clone(), member.id.clone());
        if !stage.alarms.is_set(&alarm) {
            stage.alarm_in(alarm, i64::from(member.rebalance_timeout_ms));
        }
    }
}

impl ConsumerGroup {
    /// Whether somebody with these protocols can be part of this group.
    fn supports_classic(&self, join: &JoinRequest) -> bool {
        let classic = self.classic_members();
        let all_have = |name: &str| {
            let have = self.members.values().filter(|member| {
                member.classic.as_ref().is_some_and(|classic| {
                    classic
                        .protocols
                        .iter()
                        .any(|protocol| *protocol.name == *name)
                })
            });
            have.count() == classic
        };
        &*join.protocol_type == CONSUMER
            && join
                .protocols
                .iter()
                .any(|protocol| all_have(&protocol.name))
    }

    /// A member of the classic protocol, in the generation it has.
    fn classic_member(
        &self,
        id: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> Result<&ConsumerMember, ErrorCode> {
        let member = match instance {
            None => self.members.get(id).ok_or(ErrorCode::UnknownMemberId)?,
            Some(instance) => self
                .static_by(instance, id)
                .map_err(|refusal| refusal.error)?,
        };
        if !member.is_classic() {
            return Err(ErrorCode::UnknownMemberId);
        }
        if generation != member.epoch {
            return Err(ErrorCode::IllegalGeneration);
        }
        Ok(member)
    }

    /// Whom a LeaveGroup means.
    fn leaving(&self, leaving: &LeavingMember) -> Result<Arc<str>, ErrorCode> {
        let id = &leaving.member_id;
        match leaving.instance_id.as_deref() {
            None => self.members.get(id).map(|member| member.id.clone()),
            // An administrator removes a static member by its instance id. // rule G7
            Some(instance) if id.is_empty() => self.statics.get(instance).cloned(),
            Some(instance) => {
                let member = self.static_by(instance, id);
                return member
                    .map(|member| member.id.clone())
                    .map_err(|refusal| refusal.error);
            }
        }
        .ok_or(ErrorCode::UnknownMemberId)
    }

    /// Whether a partition the member shall have is still with somebody.
    fn waits_for_others(&self, member: &ConsumerMember) -> bool {
        let target = self.target.get(&member.id);
        target.into_iter().flatten().any(|(topic, partitions)| {
            let has = member.assigned.get(topic);
            partitions.iter().any(|partition| {
                !has.is_some_and(|has| has.contains_key(partition))
                    && self.is_owned(*topic, *partition)
            })
        })
    }
}

/// What a joined member is told: its epoch, and that somebody else leads.
fn answer(member: &ConsumerMember) -> JoinResponse {
    JoinResponse {
        error: ErrorCode::None,
        generation: member.epoch,
        protocol_type: Some(Arc::from(CONSUMER)),
        protocol_name: member
            .classic_protocol()
            .map(|protocol| protocol.name.clone()),
        leader: Arc::from(""),
        skip_assignment: false,
        member_id: member.id.clone(),
        members: Vec::new(),
    }
}
