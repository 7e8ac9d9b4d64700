"""What looks at the datasets' schedules again and again, and asks for loads."""
