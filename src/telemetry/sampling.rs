//! Which calls are traced? Some by chance, and those whose callers are: up to a
//! bound, so that no caller decides how much is exported. It is decided before
//! anything is made for a call that is not.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use http::HeaderMap;
use opentelemetry::{
    Context,
    propagation::{Extractor, TextMapPropagator as _},
    trace::{SpanContext, TraceContextExt as _},
};
use opentelemetry_sdk::{
    propagation::TraceContextPropagator,
    trace::{IdGenerator as _, RandomIdGenerator},
};

use crate::{counter::Counter, settings::Telemetry};

/// The header of the W3C's trace context.
const TRACEPARENT: &str = "traceparent";

/// Decides.
#[derive(Clone)]
pub struct Sampling(Arc<Inner>);

struct Inner {
    // None: no call is traced, since nobody is told.
    rules: Option<Rules>,
    propagator: TraceContextPropagator,
    by_chance: Counter,
    followed: Counter,
    not_followed: Counter,
}

struct Rules {
    // Random numbers up to here are the ones.
    threshold: u64,
    // None: every call.
    all: bool,
    follow: Mutex<Second>,
    max_followed: u32,
}

/// How many were followed in a second.
struct Second {
    began: Instant,
    followed: u32,
}

/// What becomes of a call.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The trace that its caller says it belongs to.
    pub caller: Option<SpanContext>,
    /// Whether its spans are exported.
    pub is_traced: bool,
}

impl Decision {
    /// Of a request that nobody wants traced.
    pub fn untraced() -> Self {
        Self { caller: None, is_traced: false }
    }

    /// What its spans are children of, for those that are traced.
    pub fn parent(&self) -> Option<Context> {
        self.caller.clone().map(|caller| Context::new().with_remote_span_context(caller))
    }
}

impl fmt::Debug for Sampling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sampling").finish_non_exhaustive()
    }
}

impl Sampling {
    /// As the settings say.
    pub fn new(settings: &Telemetry) -> Self {
        let rules = settings.endpoint().map(|_| Rules {
            threshold: threshold(settings.sample_ratio),
            all: settings.sample_ratio >= 1.0,
            follow: Mutex::new(Second { began: Instant::now(), followed: 0 }),
            max_followed: settings.max_followed_per_second,
        });
        Self(Arc::new(Inner {
            rules,
            propagator: TraceContextPropagator::new(),
            by_chance: Counter::default(),
            followed: Counter::default(),
            not_followed: Counter::default(),
        }))
    }

    /// Decides for a call with these headers.
    pub fn decide(&self, headers: &HeaderMap) -> Decision {
        // Most have none, and are not looked into any further.
        let caller = headers.contains_key(TRACEPARENT).then(|| self.caller(headers)).flatten();
        let is_traced = self.0.rules.as_ref().is_some_and(|rules| match &caller {
            // Its caller decided, for the whole of the trace.
            Some(caller) if !caller.is_sampled() => false,
            Some(_) if rules.follows(Instant::now()) => {
                self.0.followed.count();
                true
            }
            Some(_) => {
                self.0.not_followed.count();
                false
            }
            None if rules.takes_a_chance() => {
                self.0.by_chance.count();
                true
            }
            None => false,
        });
        Decision { caller, is_traced }
    }

    /// How many calls were traced: by chance, and with their callers.
    pub fn traced(&self) -> [(&'static str, u64); 2] {
        [("ratio", self.0.by_chance.total()), ("caller", self.0.followed.total())]
    }

    /// How many were not traced although their callers are.
    pub fn not_followed(&self) -> u64 {
        self.0.not_followed.total()
    }

    fn caller(&self, headers: &HeaderMap) -> Option<SpanContext> {
        let context = self.0.propagator.extract_with_context(&Context::new(), &Headers(headers));
        Some(context.span().span_context().clone()).filter(SpanContext::is_valid)
    }
}

impl Rules {
    fn takes_a_chance(&self) -> bool {
        self.all || u64::from_be_bytes(RandomIdGenerator::default().new_span_id().to_bytes()) < self.threshold
    }

    fn follows(&self, now: Instant) -> bool {
        let mut second = self.follow.lock().unwrap_or_else(PoisonError::into_inner);
        if now.duration_since(second.began) >= Duration::from_secs(1) {
            *second = Second { began: now, followed: 0 };
        }
        let has_room = second.followed < self.max_followed;
        second.followed += u32::from(has_room);
        has_room
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a ratio of 0 to 1 of all numbers, to within a rounding"
)]
fn threshold(ratio: f64) -> u64 {
    (ratio * u64::MAX as f64) as u64
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        // Two of them are none.
        let mut values = self.0.get_all(key).iter();
        let value = values.next()?;
        if key == TRACEPARENT && values.next().is_some() {
            return None;
        }
        value.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    fn settings(sample_ratio: f64, max_followed_per_second: u32) -> Telemetry {
        let otlp_endpoint = Some("http://127.0.0.1:4317".to_owned());
        Telemetry { otlp_endpoint, sample_ratio, max_followed_per_second, ..Telemetry::default() }
    }

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACEPARENT, value.parse().expect("ASCII"));
        }
        headers
    }

    fn from(flags: &str) -> HeaderMap {
        headers(&[&format!("00-{TRACE}-b7ad6b7169203331-{flags}")])
    }

    #[test]
    fn callers_that_are_traced_are_followed_up_to_a_bound_and_others_are_not() {
        let sampling = Sampling::new(&settings(1.0, 2));
        let traced = |headers: &HeaderMap| sampling.decide(headers).is_traced;
        assert!(!traced(&from("00")), "its caller decided");
        assert!([(); 2].iter().all(|()| traced(&from("01"))));
        assert!(!traced(&from("01")), "more than two in a second");
        assert_eq!(sampling.decide(&from("01")).caller.expect("it is known").trace_id().to_string(), TRACE);
        assert_eq!((sampling.traced(), sampling.not_followed()), ([("ratio", 0), ("caller", 2)], 2));
        let rules = sampling.0.rules.as_ref().expect("there are rules");
        assert!(rules.follows(Instant::now() + Duration::from_secs(2)), "in the next one again");
    }

    #[test]
    fn what_is_no_context_counts_as_none() {
        let sampling = Sampling::new(&settings(1.0, 2));
        let good = format!("00-{TRACE}-b7ad6b7169203331-01");
        let zeros = format!("00-{}-b7ad6b7169203331-01", "0".repeat(32));
        for bad in [&["junk"][..], &[""], &[&zeros], &[&good, &good]] {
            let Decision { caller, is_traced } = sampling.decide(&headers(bad));
            assert!(caller.is_none() && is_traced, "{bad:?}: by chance alone");
        }
    }

    #[test]
    fn the_ratio_is_kept_and_without_a_collector_none_is_traced() {
        let count = |ratio: f64| {
            let sampling = Sampling::new(&settings(ratio, 0));
            (0..10_000).filter(|_| sampling.decide(&HeaderMap::new()).is_traced).count()
        };
        assert_eq!((count(0.0), count(1.0)), (0, 10_000));
        // Over ten standard deviations on either side.
        assert!((4_500..5_500).contains(&count(0.5)));
        let nobody = Sampling::new(&Telemetry { sample_ratio: 1.0, ..Telemetry::default() });
        assert!(!nobody.decide(&from("01")).is_traced);
    }
}
