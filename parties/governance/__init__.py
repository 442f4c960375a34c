"""What this company has agreed to."""
