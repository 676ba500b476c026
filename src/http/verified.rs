//! What the background re-verification of full mirrors has done, for `/metrics`.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use super::metrics::{MetricsSource, Sample, SampleValue};
use crate::mirror::{Mirrors, ReverifyFigures};

/// The figures of all mirrors.
pub struct VerifiedFigures(pub Mirrors);

impl fmt::Debug for VerifiedFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifiedFigures")
    }
}

impl MetricsSource for VerifiedFigures {
    fn samples(&self) -> Vec<Sample> {
        type Read = fn(&ReverifyFigures) -> &AtomicU64;
        let figures: [(&str, &str, Read); 3] = [
            ("mirror_verified_records", "Records of a full mirror that were verified again", |f| &f.records),
            ("mirror_verified_rounds", "How often a whole full mirror was verified again", |f| &f.rounds),
            ("mirror_damage", "Places of a full mirror that were found damaged", |f| &f.findings),
        ];
        let sample = |(name, help, read): (&'static str, &'static str, Read)| {
            self.0.iter().map(move |mirror| {
                let value = SampleValue::Counter(read(&mirror.reverified).load(Ordering::Relaxed));
                Sample::new(name, help, value).of(mirror.log.name())
            })
        };
        figures.into_iter().flat_map(sample).collect()
    }
}
