"""What tests share: real servers, a client of the API, and waiting without sleeping blindly."""
