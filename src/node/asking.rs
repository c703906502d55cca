//! The program that asks others of the same user: how they do, or for files.
//!
//! Asks each of them the same, all at once, over a connection of its own. One that does not
//! answer keeps no other waiting. It can ask again after its end.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use super::connections::Connections;
use super::paths::Paths;
use super::{Action, CloseHow, ConnectionId, Input, Node, Outcome, Report};
use crate::limits::Limits;
use crate::proto::control::{Ask, Inquiry, Reply};
use crate::proto::{CloseReason, Timer, Transmit};

/// Asks other programs as pure state. News of files are reports, too.
#[derive(Debug)]
pub struct AskNode {
    /// What came of each program, by its number.
    answers: BTreeMap<usize, Answered>,
    connections: Connections<Asked>,
    /// When what has not come is given up.
    until: Option<Instant>,
    actions: VecDeque<Action>,
    paths: Paths,
}

/// What a program answered.
#[derive(Debug)]
pub struct Answered {
    /// So far.
    pub replies: Vec<Reply>,
    /// Why nothing more comes: [`CloseReason::Done`] if that was all.
    pub reason: CloseReason,
}

#[derive(Debug)]
struct Asked {
    program: usize,
    inquiry: Inquiry,
}

impl AskNode {
    /// Returns a node that has asked nobody yet.
    pub fn new() -> Self {
        Self {
            answers: BTreeMap::new(),
            connections: Connections::new(&Limits::PEER, 0),
            until: None,
            actions: VecDeque::new(),
            paths: Paths::default(),
        }
    }

    /// Asks these programs, and forgets what others have answered.
    pub fn ask(&mut self, now: Instant, programs: &[usize], ask: &Ask, until: Option<Instant>) {
        self.answers.clear();
        self.until = until;
        for &program in programs {
            let reason = CloseReason::Broken(std::io::ErrorKind::OutOfMemory);
            self.answers.insert(program, Answered { replies: Vec::new(), reason });
            let inquiry = Inquiry::new(now, ask.clone());
            if let Some(connection) = self.connections.dial(Asked { program, inquiry }) {
                self.actions.push_back(Action::DialProgram { connection, program });
                self.after(connection);
            }
        }
        self.end_if_answered();
    }

    /// Returns what came of each program that was asked, by its number.
    pub fn answers(&self) -> &BTreeMap<usize, Answered> {
        &self.answers
    }

    fn on_bytes(&mut self, now: Instant, connection: ConnectionId, bytes: &[u8]) {
        let mut at = 0;
        while let Some(Asked { program, inquiry }) = self.connections.get_mut(connection) {
            match inquiry.handle_bytes(now, bytes, &mut at) {
                Ok(Some(reply)) => {
                    if let Reply::News(news) = &reply
                        && news.is_end()
                    {
                        let news = Box::new(news.clone());
                        self.actions.push_back(Action::Report(Report::News(news)));
                    }
                    if let Some(answer) = self.answers.get_mut(program) {
                        answer.replies.push(reply);
                    }
                }
                Ok(None) if inquiry.is_done() => return self.close(connection, CloseReason::Done),
                Ok(None) => break,
                Err(reason) => return self.close(connection, reason),
            }
        }
        self.after(connection);
    }

    /// What every input about a connection ends with.
    fn after(&mut self, connection: ConnectionId) {
        let Some(Asked { inquiry, .. }) = self.connections.get(connection) else { return };
        if inquiry.transmit().is_some() {
            self.actions.push_back(Action::Transmit(connection));
        }
        match inquiry.poll_timeout() {
            Some(deadline) => self.connections.arm(connection, deadline),
            None => self.connections.disarm(connection),
        }
    }

    fn close(&mut self, connection: ConnectionId, reason: CloseReason) {
        if self.connections.get(connection).is_some() {
            let how = CloseHow::Finish;
            self.actions.push_back(Action::Close { connection, how, reason });
            self.lose(connection, reason);
        }
    }

    fn lose(&mut self, connection: ConnectionId, reason: CloseReason) {
        let Some(Asked { program, .. }) = self.connections.remove(connection) else { return };
        if let Some(answer) = self.answers.get_mut(&program) {
            answer.reason = reason;
        }
        self.end_if_answered();
    }

    fn end_if_answered(&mut self) {
        if self.connections.len() == 0 {
            self.until = None;
            self.actions.push_back(Action::Exit(Outcome::AllDone));
        }
    }
}

impl Default for AskNode {
    fn default() -> Self {
        Self::new()
    }
}

impl Node for AskNode {
    fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Connected(connection) => {
                if let Some(asked) = self.connections.get_mut(connection) {
                    asked.inquiry.handle_connected(now);
                }
                self.after(connection);
            }
            Input::Received { connection, bytes } => self.on_bytes(now, connection, bytes),
            Input::ReadClosed(connection) => self.close(connection, CloseReason::ClosedByPeer),
            Input::Broken { connection, kind } => self.lose(connection, CloseReason::Broken(kind)),
            Input::Stop(signal) => self.actions.push_back(Action::Exit(Outcome::Stopped(signal))),
            _ => {}
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        while let Some(connection) = self.connections.pop_due(now) {
            let Some(asked) = self.connections.get_mut(connection) else { continue };
            match asked.inquiry.handle_timeout(now) {
                Ok(()) => self.after(connection),
                Err(reason) => self.close(connection, reason),
            }
        }
        if self.until.is_some_and(|until| until <= now) {
            for connection in self.connections.ids() {
                self.close(connection, CloseReason::TimedOut(Timer::Answer));
            }
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        [self.until, self.connections.next_deadline()].into_iter().flatten().min()
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn paths(&self) -> &Paths {
        &self.paths
    }

    fn transmit(&self, connection: ConnectionId) -> Option<Transmit<'_>> {
        self.connections.get(connection)?.inquiry.transmit()
    }

    fn transmitted(&mut self, _: Instant, connection: ConnectionId, len_bytes: usize) {
        if let Some(asked) = self.connections.get_mut(connection) {
            asked.inquiry.transmitted(len_bytes);
        }
    }

    fn read_allowance_bytes(&self, connection: ConnectionId) -> usize {
        // What comes causes nothing to be sent.
        self.connections.get(connection).map_or(0, |_| usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::time::Duration;

    use super::*;
    use crate::limits::CONTROL_TIMEOUT;
    use crate::node::Signal;
    use crate::node::scene::{self, actions, name};
    use crate::proto::control::News;

    /// The connections to the programs that are dialed, in their order.
    fn dialed(node: &mut AskNode) -> Vec<ConnectionId> {
        let connection = |action| match action {
            Action::DialProgram { connection, .. } => Some(connection),
            _ => None,
        };
        actions(node).into_iter().filter_map(connection).collect()
    }

    fn sent(node: &mut AskNode, now: Instant, connection: ConnectionId) -> Vec<u8> {
        node.handle(now, Input::Connected(connection));
        scene::sent(node, now, connection)
    }

    fn receive(node: &mut AskNode, now: Instant, connection: ConnectionId, bytes: &[u8]) {
        node.handle(now, Input::Received { connection, bytes });
    }

    fn has_ended(node: &mut AskNode) -> bool {
        actions(node).contains(&Action::Exit(Outcome::AllDone))
    }

    fn reasons(node: &AskNode) -> Vec<CloseReason> {
        node.answers().values().map(|answered| answered.reason).collect()
    }

    #[test]
    fn each_program_is_asked_and_none_waits_for_another() {
        let now = Instant::now();
        let mut node = AskNode::new();
        node.ask(now, &[0, 1, 2, 3], &Ask::Status { json: true }, None);
        let ids = dialed(&mut node);
        assert_eq!(sent(&mut node, now, ids[0]), b"S\x01");
        receive(&mut node, now, ids[0], b"T\0\0\0\x02{}");
        let kind = ErrorKind::ConnectionRefused;
        node.handle(now, Input::Broken { connection: ids[1], kind });
        sent(&mut node, now, ids[2]);
        node.handle(now, Input::ReadClosed(ids[2]));
        assert!(!has_ended(&mut node));
        let late = now + CONTROL_TIMEOUT;
        assert_eq!(node.poll_timeout(), Some(late));
        node.handle_timeout(late);
        assert!(has_ended(&mut node) && node.poll_timeout().is_none());
        let expected = [
            CloseReason::Done,
            CloseReason::Broken(kind),
            CloseReason::ClosedByPeer,
            CloseReason::TimedOut(Timer::Connect),
        ];
        assert_eq!(reasons(&node), expected);
        assert_eq!(node.answers()[&0].replies, [Reply::Text("{}".to_owned())]);
    }

    #[test]
    fn news_are_reported_when_they_come_and_kept_until_the_time_is_over() {
        let now = Instant::now();
        let [a, b] = ["a", "b"].map(name);
        let mut node = AskNode::new();
        node.ask(now, &[7], &Ask::Fetches, None);
        let id = dialed(&mut node)[0];
        assert_eq!(sent(&mut node, now, id), b"F");
        receive(&mut node, now, id, b"F\x01");
        assert!(has_ended(&mut node));
        assert_eq!(node.answers()[&7].replies, [Reply::Fetches(true)]);

        let until = now + Duration::from_secs(3600);
        node.ask(now, &[7], &Ask::Want { names: [a, b].into(), patterns: Vec::new() }, Some(until));
        let id = dialed(&mut node)[0];
        assert_eq!(sent(&mut node, now, id), b"W\0\x01aW\0\x01bA");
        actions(&mut node);
        receive(&mut node, now, id, b"W\0\x01aP\0\x01b");
        let report = Report::News(Box::new(News::Present(b)));
        assert_eq!(actions(&mut node), [Action::Report(report)]);
        assert_eq!(node.poll_timeout(), Some(until));
        node.handle_timeout(until);
        assert!(has_ended(&mut node));
        assert_eq!(reasons(&node), [CloseReason::TimedOut(Timer::Answer)]);
        let news = [News::Waiting(a), News::Present(b)].map(Reply::News);
        assert_eq!(node.answers()[&7].replies, news);
    }

    #[test]
    fn it_ends_at_once_if_nobody_is_to_be_asked_or_a_signal_comes() {
        let now = Instant::now();
        let mut node = AskNode::new();
        node.ask(now, &[], &Ask::Fetches, None);
        assert_eq!(actions(&mut node), [Action::Exit(Outcome::AllDone)]);
        node.ask(now, &[0], &Ask::Fetches, None);
        actions(&mut node);
        node.handle(now, Input::Stop(Signal::Interrupt));
        assert_eq!(actions(&mut node), [Action::Exit(Outcome::Stopped(Signal::Interrupt))]);
    }
}
