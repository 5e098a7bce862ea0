"""Every patch of stock BasicSR 1.4.2, and nothing else; each says what goes wrong without it."""
