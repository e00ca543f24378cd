//! Policies there and back.

use super::*;

#[test]
fn every_template_reads_back_as_it_was_written() {
    for template in TEMPLATES {
        assert_eq!(policy(to_policy(template.policy(), None, None)), Ok(template.policy()), "{}", template.name);
    }
}

#[test]
fn what_is_left_out_is_as_in_the_template() {
    let said = v1::ScalingPolicy { template: "batch-cost-optimised".into(), agents_max: 7, ..Default::default() };
    let expected =
        Policy { agents_max: 7, predictive: false, ..Template::named("batch-cost-optimised").unwrap().policy() };
    assert_eq!(policy(said), Ok(expected));
    assert_eq!(policy(v1::ScalingPolicy::default()).unwrap().template, "web-balanced");
}

#[test]
fn what_cannot_be_read_is_named() {
    let said = v1::ScalingPolicy { template: "batch-cost-optimized".into(), ..Default::default() };
    let violation = policy(said).unwrap_err();
    assert_eq!(violation.field, "template");
    assert!(violation.description.contains("did you mean `batch-cost-optimised`?"), "{violation}");
    let blank = v1::MetricWeight { weight: 1.0, ..Default::default() };
    let said = v1::ScalingPolicy { metrics: vec![blank], ..Default::default() };
    assert_eq!(policy(said).unwrap_err().field, "metrics[0].metric");
}
