use super::*;

fn parse(text: &str) -> Result<AgentConfig, String> {
    toml::from_str(text).map_err(|error| error.to_string())
}

fn check_refused(text: &str, expected: &str) {
    let error = match parse(text) {
        Ok(config) => config.into_agent().map(drop).unwrap_err().to_string(),
        Err(error) => error,
    };
    assert!(error.contains(expected), "{error}");
}

#[test]
fn an_empty_file_is_an_agent_to_try_things_with() {
    let config = AgentConfig { id: Some("a-1".into()), ..parse("").unwrap() };
    let agent = config.into_agent().unwrap();
    let kinds: Vec<&str> = agent.spec().kinds.iter().map(Kind::as_str).collect();
    assert_eq!(kinds, ["burn", "echo", "fail", "sleep"]);
}

#[test]
fn a_file_says_everything() {
    let config = parse(
        r#"
        coordinator = "http://10.0.0.1:7400"
        id = "worker-7"
        slots = 2
        cpu_millis = 2000
        memory_bytes = 1073741824
        custom = { gpu = 1 }
        labels = { zone = "eu" }
        tier = 1
        weight = 200
        prefetch_per_slot = 0
        drain_timeout_ms = 1000

        [kinds.echo]
        executor = "echo"

        [kinds.resize]
        executor = "command"
        program = "convert"
        args = ["-", "-resize", "50%", "-"]
        env = { OMP_NUM_THREADS = "1" }
        non_retryable_exit_codes = [1]

        [kinds.command]
        executor = "programs"
        allowed_programs = ["sha256sum", "/usr/bin/python3"]

        [kinds.embed]
        executor = "http"
        url = "http://127.0.0.1:8080/embed"
        "#,
    );
    let agent = config.unwrap().into_agent().unwrap();
    let spec = agent.spec();
    assert_eq!((agent.id().as_str(), spec.capacity.slots, spec.tier, spec.weight), ("worker-7", 2, 1, 200));
    assert_eq!((spec.kinds.len(), spec.prefetch_per_slot), (4, Some(0)));
    assert_eq!(agent.drain_timeout, Duration::from_secs(1));
}

#[test]
fn what_is_written_reads_back() {
    let text = toml::to_string(&AgentConfig::default()).unwrap();
    assert_eq!(parse(&text).unwrap(), AgentConfig::default());
}

#[test]
fn mistakes_are_named() {
    check_refused("slot = 4", "slot");
    check_refused("[kinds.x]\nexecutor = \"magic\"", "magic");
    check_refused("[kinds.x]\nexecutor = \"echo\"\nloud = true", "loud");
    check_refused("[kinds.x]\nexecutor = \"command\"\nprogram = \"x\"\nshell = true", "shell");
    check_refused("[kinds.x]\nexecutor = \"command\"\nprogram = \"./x\"", "kind `x`: `./x` is a relative path");
    check_refused("[kinds.x]\nexecutor = \"http\"\nurl = \"https://x\"", "not an absolute http URL");
}
