// The script of the page: what a log viewer and lists that renew themselves need. Everything works without it.
"use strict";
