use super::*;

fn entry(id: &str, token: &str, more: &str) -> String {
    let hash = hex(&hash(token));
    format!("[[credential]]\nid = \"{id}\"\nname = \"billing\"\nroles = [\"client\"]\nsha256 = \"{hash}\"\n{more}\n")
}

fn problem(text: &str) -> String {
    Credentials::read(text).unwrap_err().to_string()
}

#[test]
fn a_token_is_found_by_what_was_shown_and_nothing_else() {
    let (token, hash) = new_token().unwrap();
    assert!(token.starts_with("ek_") && token.len() == 46, "{token}");
    assert_eq!(super::hash(&token), hash);
    let known = Credentials::read(&entry("a", &token, "")).unwrap();
    assert_eq!(known.find(&token).unwrap().caller.credential, "a");
    for other in ["", "ek_", &token[..45], &format!("{token}x"), &hex(&hash), &new_token().unwrap().0] {
        assert!(known.find(other).is_none(), "{other}");
    }
}

#[test]
fn the_same_first_bytes_are_not_the_same_token() {
    let mut known = Credentials::read(&entry("a", "ek_1", "")).unwrap();
    known.tokens[0].hash[31] ^= 1;
    assert!(known.find("ek_1").is_none());
}

#[test]
fn two_tokens_of_one_name_are_both_good() {
    let known = Credentials::read(&(entry("old", "ek_1", "") + &entry("new", "ek_2", ""))).unwrap();
    let names = ["ek_1", "ek_2"].map(|token| known.find(token).unwrap().caller.name.clone());
    assert_eq!(names, ["billing", "billing"]);
}

#[test]
fn what_a_token_may_is_read() {
    let more = "tenant = \"acme\"\nexpires = 2027-01-31T12:00:00Z\nrevoked = true";
    let known = Credentials::read(&entry("a", "ek_1", more)).unwrap();
    let token = known.find("ek_1").unwrap();
    assert_eq!(token.caller.tenant.as_ref().unwrap().as_str(), "acme");
    assert_eq!((token.expires_unix_ms, token.revoked), (Some(1_801_396_800_000), true));
    let agents = entry("a", "ek_1", "[credential.agent]\nids = [\"web-*\"]\nslots_max = 4\nlabels = [\"zone=eu\"]")
        .replace("\"client\"", "\"agent\"");
    let known = Credentials::read(&agents).unwrap();
    let grant = &known.find("ek_1").unwrap().caller.agent;
    assert_eq!((grant.ids.as_slice(), grant.slots_max), (&["web-*".to_owned()][..], Some(4)));
}

#[test]
fn an_agent_without_a_grant_is_its_name_alone() {
    let text = entry("a", "ek_1", "").replace("\"client\"", "\"agent\"");
    assert_eq!(Credentials::read(&text).unwrap().tokens()[0].caller.agent.ids, ["billing"]);
}

#[test]
fn a_file_that_makes_no_sense_is_refused_by_what_is_wrong() {
    let good = entry("a", "ek_1", "");
    for (text, words) in [
        (good.replace("sha256 = \"", "sha256 = \"0"), "credential `a`: sha256"),
        (good.replace("client", "king"), "`king` is no role"),
        (good.replace("[\"client\"]", "[]"), "no roles"),
        (good.replace("\"client\"", "\"admin\"") + "tenant = \"x\"", "an admin sees all tenants"),
        (good.clone() + "tenant = \"\"", "tenant"),
        (good.clone() + "expires = 2027-01-31", "expires"),
        (good.clone() + "token = \"ek_1\"", "unknown field"),
        (good.clone() + "[credential.agent]\nids = [\"x\"]", "not the role"),
        (good.clone() + &good, "two of this id"),
        (good.clone() + &good.replace("\"a\"", "\"b\""), "the same token"),
        (good.replace("\"a\"", "\"\""), "an id has"),
    ] {
        let problem = problem(&text);
        assert!(problem.contains(words), "{problem}");
    }
}

#[test]
fn agents_with_certificates_are_held_to_all_lines_of_their_name() {
    let text = "[[certificate]]\nname = \"web-*\"\nslots_max = 8\n[[certificate]]\nname = \"web-1\"\nslots_max = 2\n";
    let known = Credentials::read(text).unwrap();
    let slots = ["web-1", "web-2", "db-1"].map(|name| known.certificate_grant(name).slots_max);
    assert_eq!(slots, [Some(2), Some(8), None]);
}
