"""Commands about who may call: tokens and API keys."""
