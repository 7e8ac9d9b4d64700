"""The datasets' schedules: when they fire, and the loads that are asked for then."""
