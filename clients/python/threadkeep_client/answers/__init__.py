"""What the server answers, as typed structures. Members that a newer server adds are ignored."""
