//! Arguments that commands about what operators declare share.

use clap::Args;

/// Which of them to list.
#[derive(Debug, Args)]
pub struct Scoped {
    /// Only those that apply to this tenant
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,
    /// Only those that apply to this kind of task
    #[arg(long)]
    pub kind: Option<String>,
}

/// Which one to remove.
#[derive(Debug, Args)]
pub struct Removal {
    /// Its name
    pub name: String,
    /// Why, for the history
    #[arg(long, default_value = "", hide_default_value = true)]
    pub reason: String,
}
