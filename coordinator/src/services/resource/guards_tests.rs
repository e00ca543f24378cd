use super::*;

#[test]
fn settings_that_are_not_said_are_the_defaults_and_wrong_ones_are_named() {
    let read = |change: fn(&mut v1::DynamicLimitSettings)| {
        let mut wire = v1::DynamicLimitSettings { enabled: true, ..v1::DynamicLimitSettings::default() };
        change(&mut wire);
        read_dynamic(&wire).map_err(|violation| violation.field)
    };
    let expected = DynamicLimitSettings { enabled: true, ..DynamicLimitSettings::default() };
    assert_eq!(read(|_| {}), Ok(expected));
    assert_eq!(read(|wire| wire.algorithm = "aimd".into()).map(|it| it.algorithm), Ok(DynamicAlgorithm::Aimd));
    let refused = |change| read(change).unwrap_err();
    assert_eq!(refused(|wire| wire.algorithm = "vegas".into()), "algorithm");
    assert_eq!(refused(|wire| wire.tolerance = 0.5), "tolerance");
    assert_eq!(refused(|wire| wire.tolerance = f64::NAN), "tolerance");
    assert_eq!(refused(|wire| wire.slots_min = u32::MAX), "slots_min");
    assert_eq!(refused(|wire| wire.headroom_priority = 300), "headroom_priority");
}

#[test]
fn an_order_names_what_and_for_how_long() {
    let request = |change: fn(&mut v1::SetBreakerRequest)| {
        let (scope, state) = (v1::BreakerScope::Kind.into(), v1::BreakerState::Open.into());
        let mut request = v1::SetBreakerRequest { scope, state, name: "a".into(), ..v1::SetBreakerRequest::default() };
        change(&mut request);
        read_breaker_id(&request).and_then(|id| Ok((id, read_order(&request)?))).map_err(|violation| violation.field)
    };
    let kind = BreakerId::Kind(Kind::new("a").unwrap());
    assert_eq!(request(|_| {}), Ok((kind.clone(), BreakerOrder::Open(OPEN_DEFAULT))));
    assert_eq!(request(|it| it.open_ms = 5), Ok((kind.clone(), BreakerOrder::Open(Duration::from_millis(5)))));
    assert_eq!(request(|it| it.state = v1::BreakerState::Closed.into()), Ok((kind, BreakerOrder::Close)));
    let refused = |change| request(change).unwrap_err();
    assert_eq!(refused(|it| it.scope = 0), "scope");
    assert_eq!(refused(|it| it.scope = 99), "scope");
    assert_eq!(refused(|it| it.name = String::new()), "name");
    assert_eq!(refused(|it| it.state = v1::BreakerState::HalfOpen.into()), "state");
    assert_eq!(refused(|it| it.open_ms = u64::MAX), "open_ms");
}
