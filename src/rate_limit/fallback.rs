/// What a limit does while the store cannot answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fallback {
    /// Goes on in this process, with a quota for what this process serves that is no more generous
    /// than the shared one: GCRA of the same numbers, or, where the quota is counted otherwise, as
    /// if it were [guaranteed](super::Quota::guaranteed). Nothing is given back there, and of
    /// several limits those before the one that refuses are charged. Whoever asks one store for the
    /// same name and quota counts together: layers, and [limiters](super::Limiter). A [concurrency
    /// limit](super::concurrency) counts what is under way in this process.
    ///
    /// What the store alone knows does not hold meanwhile: who was
    /// [blocked](super::Limiter::block) or [locked out](super::Quota::lockout) before has the quota
    /// of this process. Where that must not be, [`Refuse`](Fallback::Refuse).
    #[default]
    Local,
    /// Lets every request pass.
    Allow,
    /// Answers 503 with `Retry-After`. Never 429: the caller has done nothing.
    Refuse,
}
