//! The bookkeeping of [`Turns`](super::Turns): who waits, who runs, who is next, who must give way.
//! It knows no time and wakes nobody; what changed is in [`Book::take_news`].

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;

use super::Standing;

/// Jobs `J` of clients `K`.
pub(super) struct Book<J, K> {
    bounds: Vec<Places>,
    lines: Vec<Queue<J, K>>,
    /// The line that is looked at first for the next free place.
    next_line: usize,
    waiting: HashMap<J, Waiting<J>>,
    running: HashMap<J, Running<K>>,
    /// How often each client waits for each job.
    wants: HashMap<J, BTreeMap<K, usize>>,
    /// Grows with every place that is given: the youngest job has the largest number.
    sequence: u64,
    news: Vec<(J, Standing)>,
}

struct Places {
    all: usize,
    taken: usize,
}

struct Queue<J, K> {
    /// Indexes of the bounds that apply.
    bounds: Vec<usize>,
    /// The clients with waiting jobs; the first was served longest ago.
    ring: VecDeque<K>,
    by_client: BTreeMap<K, VecDeque<J>>,
    /// Jobs that nobody waits for.
    unwanted: VecDeque<J>,
}

struct Waiting<J> {
    line: usize,
    /// Jobs that were revoked for this one.
    victims: Vec<J>,
}

struct Running<K> {
    line: usize,
    since: u64,
    /// The client that it counts for; nobody waits for it when there is none.
    client: Option<K>,
    /// It was told to stop, and its place is meant for this client.
    promised: Option<Option<K>>,
}

impl<K> Running<K> {
    /// The client that its place counts for.
    fn holder(&self) -> Option<&K> {
        self.promised.as_ref().unwrap_or(&self.client).as_ref()
    }

    fn is_stopping(&self) -> bool {
        self.promised.is_some()
    }
}

impl<J, K> Default for Book<J, K> {
    fn default() -> Book<J, K> {
        Book {
            bounds: Vec::new(),
            lines: Vec::new(),
            next_line: 0,
            waiting: HashMap::new(),
            running: HashMap::new(),
            wants: HashMap::new(),
            sequence: 0,
            news: Vec::new(),
        }
    }
}

impl<J: Clone + Eq + Hash, K: Clone + Ord> Book<J, K> {
    pub(super) fn add_bound(&mut self, places: usize) -> usize {
        self.bounds.push(Places { all: places, taken: 0 });
        self.bounds.len() - 1
    }

    pub(super) fn add_line(&mut self, bounds: Vec<usize>) -> usize {
        let (ring, by_client, unwanted) = (VecDeque::new(), BTreeMap::new(), VecDeque::new());
        self.lines.push(Queue { bounds, ring, by_client, unwanted });
        self.lines.len() - 1
    }

    /// What changed since this was called last, in order.
    pub(super) fn take_news(&mut self) -> Vec<(J, Standing)> {
        std::mem::take(&mut self.news)
    }

    pub(super) fn client_of(&self, job: &J) -> Option<K> {
        self.running.get(job).and_then(|running| running.client.clone())
    }

    pub(super) fn want(&mut self, job: &J, client: &K) {
        let wants = self.wants.entry(job.clone()).or_default();
        let (is_first, times) = (wants.is_empty(), wants.entry(client.clone()).or_default());
        *times += 1;
        if *times > 1 {
            return;
        }
        if let Some(Waiting { line, .. }) = self.waiting.get(job) {
            let line = &mut self.lines[*line];
            if is_first {
                line.unwanted.retain(|other| other != job);
            }
            line.push(client, job);
            self.make_room(job, true);
        }
        self.charge(job);
    }

    pub(super) fn unwant(&mut self, job: &J, client: &K) {
        let Some(wants) = self.wants.get_mut(job) else { return };
        let Some(times) = wants.get_mut(client) else { return };
        *times -= 1;
        if *times > 0 {
            return;
        }
        wants.remove(client);
        let nobody_waits = wants.is_empty();
        if nobody_waits {
            self.wants.remove(job);
        }
        if let Some(Waiting { line, .. }) = self.waiting.get(job) {
            let line = &mut self.lines[*line];
            line.remove(client, job);
            if nobody_waits {
                line.unwanted.push_back(job.clone());
            }
        }
        self.charge(job);
    }

    pub(super) fn wait(&mut self, job: &J, line: usize) {
        self.waiting.insert(job.clone(), Waiting { line, victims: Vec::new() });
        let queue = &mut self.lines[line];
        match self.wants.get(job) {
            Some(wants) => wants.keys().for_each(|client| queue.push(client, job)),
            None => queue.unwanted.push_back(job.clone()),
        }
        self.grant();
        self.make_room(job, true);
    }

    /// Frees a place for a job that has waited long enough, if its client is below its share.
    pub(super) fn press(&mut self, job: &J) {
        self.make_room(job, false);
    }

    pub(super) fn leave(&mut self, job: &J) {
        self.stop_waiting(job);
        if let Some(Running { line, promised, .. }) = self.running.remove(job) {
            for bound in &self.lines[line].bounds {
                self.bounds[*bound].taken -= 1;
            }
            if let Some(Some(client)) = promised {
                self.hand_over(job, &client);
            }
        }
        self.grant();
    }

    pub(super) fn shed(&mut self) -> bool {
        if let Some(job) = self.lines.iter().find_map(|line| line.unwanted.front()).cloned() {
            self.stop_waiting(&job);
            self.news.push((job, Standing::Shed));
            return true;
        }
        let unwanted = |running: &&Running<K>| running.client.is_none() && !running.is_stopping();
        let youngest = self.running.iter().filter(|(_, running)| unwanted(running));
        let Some(job) = youngest.max_by_key(|(_, running)| running.since).map(|(job, _)| job.clone()) else {
            return false;
        };
        self.stop(&job, None, Standing::Shed);
        true
    }

    /// Gives the place of a revoked job to the job that it was revoked for. Were it given to
    /// whoever is next, a client of another line could take it, and be revoked for it again and
    /// again.
    fn hand_over(&mut self, revoked: &J, client: &K) {
        let heir = self.waiting.iter_mut().find_map(|(job, waiting)| {
            let before = waiting.victims.len();
            waiting.victims.retain(|victim| victim != revoked);
            (waiting.victims.len() < before).then(|| (job.clone(), waiting.line))
        });
        let Some((job, line)) = heir else { return };
        let is_wanted = self.wants.get(&job).is_some_and(|wants| wants.contains_key(client));
        if is_wanted && self.has_room(line) {
            self.lines[line].served(client);
            self.start(&job, line, Some(client.clone()));
        }
    }

    /// Gives free places to those who are next, then those that are left to jobs that nobody waits
    /// for.
    fn grant(&mut self) {
        while let Some((line, client)) = self.next_turn() {
            let job =
                self.lines[line].by_client[&client].front().cloned().expect("an empty queue is removed");
            self.lines[line].served(&client);
            self.start(&job, line, Some(client));
            self.next_line = line + 1;
        }
        for line in 0..self.lines.len() {
            while self.has_room(line)
                && let Some(job) = self.lines[line].unwanted.front().cloned()
            {
                self.start(&job, line, None);
            }
        }
    }

    /// The next line that has room and, of the clients that wait in it, the one that holds fewest
    /// places.
    fn next_turn(&self) -> Option<(usize, K)> {
        let lines = self.lines.len();
        let mut in_turn = (0..lines).map(|n| (self.next_line + n) % lines);
        let line = in_turn.find(|line| !self.lines[*line].ring.is_empty() && self.has_room(*line))?;
        let held = self.held(|_| true);
        let fewest = self.lines[line].ring.iter().min_by_key(|client| held.get(client).copied().unwrap_or(0));
        fewest.map(|client| (line, client.clone()))
    }

    fn has_room(&self, line: usize) -> bool {
        self.lines[line].bounds.iter().all(|bound| !self.is_full(*bound))
    }

    fn is_full(&self, bound: usize) -> bool {
        self.bounds[bound].taken >= self.bounds[bound].all
    }

    fn is_bound_by(&self, running: &Running<K>, bound: usize) -> bool {
        self.lines[running.line].bounds.contains(&bound)
    }

    /// How many places each client holds, of the jobs that count.
    fn held(&self, counts: impl Fn(&Running<K>) -> bool) -> BTreeMap<&K, usize> {
        let mut held = BTreeMap::new();
        for client in self.running.values().filter(|running| counts(running)).filter_map(Running::holder) {
            *held.entry(client).or_default() += 1;
        }
        held
    }

    fn start(&mut self, job: &J, line: usize, client: Option<K>) {
        self.stop_waiting(job);
        for bound in &self.lines[line].bounds {
            self.bounds[*bound].taken += 1;
        }
        self.sequence += 1;
        let running = Running { line, since: self.sequence, client, promised: None };
        self.running.insert(job.clone(), running);
        self.news.push((job.clone(), Standing::Runs));
    }

    fn stop(&mut self, job: &J, promised: Option<K>, standing: Standing) {
        let running = self.running.get_mut(job).expect("only running jobs are stopped");
        running.promised = Some(promised);
        self.news.push((job.clone(), standing));
    }

    /// Takes a waiting job out of its line.
    fn stop_waiting(&mut self, job: &J) {
        let Some(Waiting { line, .. }) = self.waiting.remove(job) else { return };
        let queue = &mut self.lines[line];
        match self.wants.get(job) {
            Some(wants) => wants.keys().for_each(|client| queue.remove(client, job)),
            None => queue.unwanted.retain(|other| other != job),
        }
    }

    /// Decides anew which client a running job counts for: of those who wait for it, the one that
    /// holds fewest other places.
    fn charge(&mut self, job: &J) {
        let Some(running) = self.running.get(job) else { return };
        let mut held = self.held(|_| true);
        if let Some(own) = running.client.as_ref().filter(|_| !running.is_stopping())
            && let Some(held) = held.get_mut(own)
        {
            *held -= 1;
        }
        let rank =
            |client: &&K| (held.get(client).copied().unwrap_or(0), running.client.as_ref() != Some(*client));
        let fewest = self.wants.get(job).and_then(|wants| wants.keys().min_by_key(rank)).cloned();
        self.running.get_mut(job).expect("it was there").client = fewest;
    }

    /// Revokes what must give way so that `job` gets a place: jobs that nobody waits for, and
    /// unless only those may be, the youngest of a client that holds two places more.
    fn make_room(&mut self, job: &J, only_unwanted: bool) {
        let (Some(Waiting { line, victims }), Some(wants)) = (self.waiting.get(job), self.wants.get(job))
        else {
            return;
        };
        let mut stopping: Vec<J> =
            victims.iter().filter(|victim| self.running.contains_key(victim)).cloned().collect();
        let mut chosen = Vec::new();
        for bound in self.lines[*line].bounds.iter().copied().filter(|bound| self.is_full(*bound)) {
            let frees = |other: &J| self.is_bound_by(&self.running[other], bound);
            if stopping.iter().chain(chosen.iter().map(|(other, _)| other)).any(frees) {
                continue;
            }
            let Some(victim) = self.victim(bound, wants, only_unwanted) else { return };
            chosen.push(victim);
        }
        for (victim, client) in chosen {
            self.stop(&victim, Some(client), Standing::Revoked);
            stopping.push(victim);
        }
        self.waiting.get_mut(job).expect("it was there").victims = stopping;
    }

    /// The job that must give way in a full bound, and for which of the clients who want the place.
    fn victim(&self, bound: usize, wants: &BTreeMap<K, usize>, only_unwanted: bool) -> Option<(J, K)> {
        let counts = |running: &Running<K>| self.is_bound_by(running, bound);
        let held = self.held(counts);
        let (fewest, client) =
            wants.keys().map(|client| (held.get(client).copied().unwrap_or(0), client)).min()?;
        let youngest_of = |holder: Option<&K>| {
            let own = |running: &Running<K>| {
                counts(running) && !running.is_stopping() && running.client.as_ref() == holder
            };
            let own = self.running.iter().filter(|(_, running)| own(running));
            own.max_by_key(|(_, running)| running.since).map(|(job, _)| (job.clone(), client.clone()))
        };
        let unwanted = youngest_of(None);
        if unwanted.is_some() || only_unwanted {
            return unwanted;
        }
        let most = held.iter().max_by_key(|(_, held)| **held).filter(|(_, held)| **held >= fewest + 2)?;
        youngest_of(Some(most.0))
    }
}

impl<J: Clone + Eq, K: Clone + Ord> Queue<J, K> {
    fn push(&mut self, client: &K, job: &J) {
        if !self.by_client.contains_key(client) {
            self.ring.push_back(client.clone());
        }
        self.by_client.entry(client.clone()).or_default().push_back(job.clone());
    }

    fn remove(&mut self, client: &K, job: &J) {
        let Some(jobs) = self.by_client.get_mut(client) else { return };
        // Jobs leave from the front, or because a client went away.
        match jobs.front() == Some(job) {
            true => drop(jobs.pop_front()),
            false => jobs.retain(|other| other != job),
        }
        if jobs.is_empty() {
            self.by_client.remove(client);
            self.ring.retain(|other| other != client);
        }
    }

    /// Moves a client behind the others.
    fn served(&mut self, client: &K) {
        self.ring.retain(|other| other != client);
        self.ring.push_back(client.clone());
    }
}

#[cfg(test)]
mod tests;
