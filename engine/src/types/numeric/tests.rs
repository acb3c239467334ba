use super::*;

fn n(s: &str) -> Numeric {
    Numeric::parse(s).unwrap()
}

#[test]
fn text_keeps_its_scale() {
    for s in ["0", "1.50", "-0.001", "12345678901234567890.12", "0.00"] {
        assert_eq!(n(s).to_string(), s);
    }
    assert_eq!(n("1.5e3").to_string(), "1500");
    assert_eq!(n("1e-3").to_string(), "0.001");
    assert_eq!(n(" +.5 ").to_string(), "0.5");
    assert!(Numeric::parse("1.2.3").is_err());
    assert!(Numeric::parse("").is_err());
    assert_eq!(Numeric::parse("1e2000000000").unwrap_err().sqlstate, sqlstate::NUMERIC_OUT_OF_RANGE);
}

#[test]
fn quotients_have_the_scale_that_postgresql_shows() {
    assert_eq!(n("10").div(&n("3")).unwrap().to_string(), "3.3333333333333333");
    assert_eq!(n("1").div(&n("3")).unwrap().to_string(), "0.33333333333333333333");
    assert_eq!(n("6").div(&n("2")).unwrap().to_string(), "3.0000000000000000");
    assert_eq!(n("100000").div(&n("3")).unwrap().to_string(), "33333.333333333333");
    assert_eq!(n("1").div(&n("0")).unwrap_err().sqlstate, sqlstate::DIVISION_BY_ZERO);
}

#[test]
fn halves_round_away_from_zero() {
    assert_eq!(n("2.5").round(0).to_string(), "3");
    assert_eq!(n("-2.5").round(0).to_string(), "-3");
    assert_eq!(n("1.005").round(2).to_string(), "1.01");
    assert_eq!(n("1234").round(-2).to_string(), "1200");
    assert_eq!(n("-1.5").floor().to_string(), "-2");
    assert_eq!(n("1.5").ceil().to_string(), "2");
    assert!(n("99.995").fit(4, 2).is_err());
    assert_eq!(n("9.995").fit(4, 2).unwrap().to_string(), "10.00");
}

#[test]
fn digits_come_back() {
    for s in ["1", "10000", "0.0001", "12345.678", "100000000", "0.00000012", "-7.10"] {
        let v = n(s);
        let d = v.digits();
        let back = Numeric::from_digits(v.is_negative(), d.weight, &d.groups, v.scale());
        assert_eq!(back, v, "{s}");
    }
}

#[test]
fn order_ignores_the_scale() {
    assert_eq!(n("1.0").compare(&n("1.000")), Ordering::Equal);
    assert_eq!(n("-1").compare(&n("0.5")), Ordering::Less);
    assert_eq!(Numeric::NAN.compare(&n("1e100")), Ordering::Greater);
}

#[test]
fn floats_become_fifteen_digits() {
    assert_eq!(Numeric::from_f64(0.1).unwrap().to_string(), "0.1");
    assert_eq!(Numeric::from_f64(1e20).unwrap().to_string(), "100000000000000000000");
}
