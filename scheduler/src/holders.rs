//! The executors that may hold blocks of one job, with the outputs accepted on each.
//!
//! The outputs are a list that runs through the tasks themselves
//! ([`Task::next_here`](crate::stage_state::Task)): what is kept here is where it starts.
//!
//! Every report looks here, on a large cluster each time at another executor. So it is kept in few
//! bytes: in pages of executors with neighbouring ids, because drivers number them as they join.

use job::{ExecutorId, StageId};

/// A task of the job.
pub(crate) type Output = (StageId, u32);

/// What an executor has of the job.
#[derive(Debug, Default, Clone, Copy)]
struct Holding {
    /// The task whose output was accepted there last, if it wasn't lost since. The others follow
    /// from task to task while the job is active.
    last: Option<Output>,
}

/// A map by executor, in order of id.
#[derive(Debug, Default)]
pub(crate) struct Holders {
    /// In order of number. None is empty.
    pages: Vec<Page>,
}

#[derive(Debug)]
struct Page {
    /// Its executors' ids divided by `PAGE`.
    number: u64,
    holdings: Box<[Option<Holding>; PAGE as usize]>,
    /// How many there are.
    count: usize,
}

const PAGE: u64 = 64;

/// An executor's page, and where it is in it.
fn split(executor: ExecutorId) -> (u64, usize) {
    (executor.0 / PAGE, (executor.0 % PAGE) as usize)
}

impl Page {
    fn new(number: u64) -> Self {
        Self {
            number,
            holdings: Box::new([None; PAGE as usize]),
            count: 0,
        }
    }

    fn remove(&mut self, place: usize) -> bool {
        let was_holder = self.holdings[place].take().is_some();
        self.count -= usize::from(was_holder);
        was_holder
    }
}

impl Holders {
    /// Notes that an executor was given a task.
    pub(crate) fn add(&mut self, executor: ExecutorId) {
        let (number, place) = split(executor);
        let at = self.find(number).unwrap_or_else(|at| {
            self.pages.insert(at, Page::new(number));
            at
        });
        let page = &mut self.pages[at];
        let holding = &mut page.holdings[place];
        if holding.is_none() {
            *holding = Some(Holding::default());
            page.count += 1;
        }
    }

    pub(crate) fn contains(&self, executor: ExecutorId) -> bool {
        self.get(executor).is_some()
    }

    fn get(&self, executor: ExecutorId) -> Option<&Holding> {
        let (number, place) = split(executor);
        let at = self.find(number).ok()?;
        self.pages[at].holdings[place].as_ref()
    }

    /// Where a page is, or would be.
    fn find(&self, number: u64) -> Result<usize, usize> {
        // Where all executors have been given tasks, all pages are there.
        let guess = self.pages.get(number as usize);
        if guess.is_some_and(|page| page.number == number) {
            return Ok(number as usize);
        }
        self.pages.binary_search_by_key(&number, |page| page.number)
    }

    /// Forgets an executor, and what was accepted there. False if it was no holder.
    pub(crate) fn remove(&mut self, executor: ExecutorId) -> bool {
        let (number, place) = split(executor);
        let Ok(at) = self.find(number) else {
            return false;
        };
        let page = &mut self.pages[at];
        let was_holder = page.remove(place);
        if page.count == 0 {
            self.pages.remove(at);
        }
        was_holder
    }

    /// The output that was accepted last on an executor, of those that weren't lost.
    pub(crate) fn last(&self, executor: ExecutorId) -> Option<Output> {
        self.get(executor)?.last
    }

    /// Makes an output the last one of its executor. Returns the one before.
    pub(crate) fn set_last(
        &mut self,
        executor: ExecutorId,
        output: Option<Output>,
    ) -> Option<Output> {
        let (number, place) = split(executor);
        let at = self.find(number).ok()?;
        let holding = self.pages[at].holdings[place].as_mut()?;
        std::mem::replace(&mut holding.last, output)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.pages.iter().map(|page| page.count).sum()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = ExecutorId> {
        self.pages.iter().flat_map(|page| {
            let places = (0..PAGE).zip(page.holdings.iter());
            let present = places.filter(|(_, holding)| holding.is_some());
            present.map(|(place, _)| ExecutorId(page.number * PAGE + place))
        })
    }

    /// Keeps the executors for which `keep` says so.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(ExecutorId) -> bool) {
        self.pages.retain_mut(|page| {
            for place in 0..PAGE {
                let here = page.holdings[place as usize].is_some();
                if here && !keep(ExecutorId(page.number * PAGE + place)) {
                    page.remove(place as usize);
                }
            }
            page.count > 0
        });
    }
}
