//! How large the fleet should be: demand, forecast, policies, decisions, and which agents go.
