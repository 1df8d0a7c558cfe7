"""Made-up bytes into everything that reads bytes from outside: nothing may raise but what it says."""
