//! Replays a recorded history through another strategy.
