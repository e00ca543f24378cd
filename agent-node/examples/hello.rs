//! An agent of your own: run `evenkeel dev` beside it, then `evenkeel task submit --kind hello --payload World`.

use evenkeel_agent::{Agent, AgentError};

#[tokio::main]
async fn main() -> Result<(), AgentError> {
    Agent::builder("http://127.0.0.1:7400")
        .id("hello-1")
        .kind_fn("hello", |task| async move { Ok(format!("Hello, {}!", task.payload_text()?).into()) })
        .run(async { drop(tokio::signal::ctrl_c().await) })
        .await
}
