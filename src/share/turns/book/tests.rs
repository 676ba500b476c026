use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

type Table = Book<u32, char>;

/// One line with so many places.
fn table(places: usize) -> Table {
    let mut book = Table::default();
    let bound = book.add_bound(places);
    book.add_line(vec![bound]);
    book
}

fn ask(book: &mut Table, jobs: std::ops::Range<u32>, client: char, line: usize) {
    for job in jobs {
        book.want(&job, &client);
        book.wait(&job, line);
    }
}

/// The jobs that were told so, in order.
fn told(book: &mut Table, standing: Standing) -> Vec<u32> {
    let news = book.take_news();
    news.into_iter().filter(|(_, told)| *told == standing).map(|(job, _)| job).collect()
}

/// What a revoked job's task does: it stops, and queues again if somebody waits for it.
fn obey(book: &mut Table) -> Vec<u32> {
    let revoked = told(book, Standing::Revoked);
    for job in &revoked {
        let line = book.running[job].line;
        book.leave(job);
        book.wait(job, line);
    }
    revoked
}

fn runs(book: &Table, client: char) -> usize {
    book.running.values().filter(|running| running.client == Some(client)).count()
}

#[test]
fn a_client_alone_takes_every_place_and_no_more() {
    let mut book = table(4);
    ask(&mut book, 0..10, 'a', 0);
    assert_eq!(told(&mut book, Standing::Runs), [0, 1, 2, 3]);
    (0..10).for_each(|job| book.press(&job));
    assert_eq!(told(&mut book, Standing::Revoked), [0; 0], "a client does not revoke its own");
    book.leave(&2);
    assert_eq!(told(&mut book, Standing::Runs), [4]);
}

#[test]
fn clients_take_turns_whoever_asked_first_and_most() {
    let mut book = table(1);
    ask(&mut book, 0..4, 'a', 0);
    ask(&mut book, 10..12, 'b', 0);
    ask(&mut book, 20..22, 'c', 0);
    let mut order = Vec::new();
    while let [job] = told(&mut book, Standing::Runs)[..] {
        order.push(job);
        book.leave(&job);
    }
    // The first was alone. From then on the turn goes round.
    assert_eq!(order, [0, 1, 10, 20, 2, 11, 21, 3]);
}

#[test]
fn a_newcomer_has_its_share_though_nothing_ends() {
    let mut book = table(48);
    ask(&mut book, 0..300, 'a', 0);
    ask(&mut book, 1000..1100, 'b', 0);
    assert_eq!(runs(&book, 'b'), 0, "first places may come free by themselves");
    book.take_news();
    (1000..1100).for_each(|job| book.press(&job));
    assert_eq!(obey(&mut book), (24..48).rev().collect::<Vec<_>>(), "the youngest");
    assert_eq!((runs(&book, 'a'), runs(&book, 'b')), (24, 24));
    (0..300).chain(1000..1100).for_each(|job| book.press(&job));
    assert_eq!(obey(&mut book), [0; 0], "nobody is below its share");
}

#[test]
fn a_job_that_nobody_waits_for_gives_way_at_once_and_runs_where_there_is_room() {
    let mut book = table(2);
    ask(&mut book, 0..3, 'a', 0);
    book.unwant(&0, &'a');
    book.unwant(&2, &'a');
    told(&mut book, Standing::Runs);
    ask(&mut book, 3..4, 'a', 0);
    assert_eq!(obey(&mut book), [0]);
    assert_eq!(told(&mut book, Standing::Runs), [3]);
    book.leave(&1);
    assert_eq!(told(&mut book, Standing::Runs), [2], "it waited longer than 0");
    assert!(book.shed() && book.shed() && !book.shed());
    assert_eq!(told(&mut book, Standing::Shed), [0, 2], "first what waits, then what runs");
}

#[test]
fn a_job_counts_for_the_client_that_holds_fewest() {
    let mut book = table(4);
    ask(&mut book, 0..8, 'a', 0);
    // Another client waits for what the first made hang: it costs that client a place of its own,
    // and protects the job.
    book.want(&3, &'b');
    assert_eq!((book.client_of(&3), runs(&book, 'a')), (Some('b'), 3));
    ask(&mut book, 10..12, 'c', 0);
    book.take_news();
    (10..12).for_each(|job| book.press(&job));
    assert_eq!(obey(&mut book), [2], "b and c hold one each, and a two");
    book.unwant(&3, &'b');
    assert_eq!(book.client_of(&3), Some('a'));
    // A waiting job comes forward with whoever joins it.
    book.want(&7, &'d');
    book.leave(&0);
    assert_eq!(book.client_of(&7), Some('d'));
}

#[test]
fn a_narrow_bound_does_not_hold_up_other_lines() {
    let mut book = Table::default();
    let (all, slow) = (book.add_bound(4), book.add_bound(3));
    book.add_line(vec![slow, all]);
    book.add_line(vec![all]);
    ask(&mut book, 0..10, 'a', 0);
    ask(&mut book, 20..30, 'a', 1);
    assert_eq!(told(&mut book, Standing::Runs), [0, 1, 2, 20]);
    book.leave(&20);
    assert_eq!(told(&mut book, Standing::Runs), [21]);
    // Both bounds are full, and one place frees both.
    ask(&mut book, 40..41, 'b', 0);
    book.press(&40);
    assert_eq!(obey(&mut book), [2]);
    assert_eq!(runs(&book, 'b'), 1);
}

/// A client with jobs in two lines took each place that was revoked for another client, and was
/// revoked for it again, without end.
#[test]
fn a_revoked_place_is_for_the_job_that_it_was_revoked_for() {
    let mut book = Table::default();
    let (all, left, right) = (book.add_bound(4), book.add_bound(1), book.add_bound(1));
    for bounds in [vec![left, all], vec![right, all], vec![all]] {
        book.add_line(bounds);
    }
    for (job, client, line) in [(4, 'b', 0), (0, 'c', 2), (5, 'b', 2), (6, 'c', 2), (7, 'b', 1), (8, 'a', 2)]
    {
        ask(&mut book, job..job + 1, client, line);
    }
    book.take_news();
    book.press(&8);
    assert_eq!(obey(&mut book).len(), 1);
    assert_eq!(book.client_of(&8), Some('a'), "and not job 7, whose line is next");
    for job in [0, 5, 6, 7] {
        book.press(&job);
    }
    assert_eq!(obey(&mut book), [0; 0], "everybody has a share");
}

#[derive(Clone, Debug)]
enum Event {
    Ask { job: u32, client: char, line: usize },
    Give { job: u32, client: char },
    Leave(u32),
    Press(u32),
    Shed,
}

fn event() -> impl Strategy<Value = Event> {
    let (job, client) = (0u32..24, prop::char::range('a', 'e'));
    prop_oneof![
        6 => (job.clone(), client.clone(), 0usize..3).prop_map(|(job, client, line)| Event::Ask { job, client, line }),
        2 => (job.clone(), client).prop_map(|(job, client)| Event::Give { job, client }),
        2 => job.clone().prop_map(Event::Leave),
        2 => job.prop_map(Event::Press),
        1 => Just(Event::Shed),
    ]
}

impl Table {
    fn apply(&mut self, event: &Event, wants: &mut BTreeSet<(u32, char)>) {
        match event {
            Event::Ask { job, client, line } => {
                if wants.insert((*job, *client)) {
                    self.want(job, client);
                }
                if !self.waiting.contains_key(job) && !self.running.contains_key(job) {
                    self.wait(job, *line);
                }
            }
            Event::Give { job, client } => {
                if wants.remove(&(*job, *client)) {
                    self.unwant(job, client);
                }
            }
            Event::Leave(job) => self.leave(job),
            Event::Press(job) => self.press(job),
            Event::Shed => drop(self.shed()),
        }
        // Tasks obey at once, except for what a model need not know: whether they were stopped or
        // done.
        for (job, standing) in self.take_news() {
            if standing == Standing::Shed
                || (standing == Standing::Revoked && self.running.contains_key(&job))
            {
                self.leave(&job);
            }
        }
    }

    /// The books add up, no bound is exceeded, and no place is free that somebody could use.
    fn check(&self, wants: &BTreeSet<(u32, char)>) {
        for (n, bound) in self.bounds.iter().enumerate() {
            let taken = self.running.values().filter(|running| self.is_bound_by(running, n)).count();
            assert!(taken == bound.taken && taken <= bound.all);
        }
        for (job, running) in &self.running {
            let is_wanted = wants.iter().any(|(wanted, _)| wanted == job);
            assert_eq!(running.client.is_some(), is_wanted);
            assert!(running.client.is_none_or(|client| wants.contains(&(*job, client))));
        }
        let mut queued = BTreeSet::new();
        for line in &self.lines {
            assert_eq!(line.ring.iter().collect::<BTreeSet<_>>(), line.by_client.keys().collect());
            let jobs =
                line.by_client.iter().flat_map(|(client, jobs)| jobs.iter().map(|job| (*job, *client)));
            jobs.for_each(|pair| assert!(queued.insert(pair) && wants.contains(&pair)));
        }
        for (job, Waiting { line, .. }) in &self.waiting {
            assert!(!self.has_room(*line), "{job} could run");
            let unwanted = self.lines[*line].unwanted.iter().filter(|other| *other == job).count();
            let wanted = wants.iter().filter(|(wanted, _)| wanted == job).count();
            assert_eq!(queued.iter().filter(|(queued, _)| queued == job).count(), wanted);
            assert_eq!(unwanted, usize::from(wanted == 0));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever clients do, the books add up. And when all who wait have waited long enough, every
    /// client has its share: nobody who waits holds two places fewer than another in a bound that
    /// keeps it waiting, and what nobody waits for keeps nobody waiting.
    #[test]
    fn bounds_and_shares_hold_in_any_order_of_events(
        places in (1usize..6, 1usize..4, 1usize..4),
        events in prop::collection::vec(event(), 1..200),
    ) {
        let mut book = Table::default();
        let (all, left, right) = (book.add_bound(places.0), book.add_bound(places.1), book.add_bound(places.2));
        for bounds in [vec![left, all], vec![right, all], vec![all]] {
            book.add_line(bounds);
        }
        let mut wants = BTreeSet::new();
        for event in &events {
            book.apply(event, &mut wants);
            book.check(&wants);
        }
        for round in 0.. {
            prop_assert!(round < 1_000, "clients take places from each other without end");
            let mut waiting: Vec<u32> = book.waiting.keys().copied().collect();
            waiting.sort_unstable();
            waiting.iter().for_each(|job| book.press(job));
            if obey(&mut book).is_empty() {
                break;
            }
            book.check(&wants);
        }
        for (job, Waiting { line, .. }) in &book.waiting {
            if wants.iter().all(|(wanted, _)| wanted != job) {
                continue;
            }
            let is_fair = |bound: &usize| {
                let mut held: BTreeMap<char, usize> = BTreeMap::new();
                for running in book.running.values().filter(|running| book.is_bound_by(running, *bound)) {
                    let Some(client) = running.client else { return false };
                    *held.entry(client).or_default() += 1;
                }
                let own = wants.iter().filter(|(wanted, _)| wanted == job);
                let own = own.map(|(_, client)| held.get(client).copied().unwrap_or(0)).min().expect("it is wanted");
                held.values().all(|other| *other <= own + 1)
            };
            let mut full = book.lines[*line].bounds.iter().filter(|bound| book.is_full(**bound));
            prop_assert!(full.any(is_fair), "{} is below its share", job);
        }
    }
}
