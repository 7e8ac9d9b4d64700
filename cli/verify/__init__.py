"""`headrace verify`: an independent audit of all that is stored.

It recomputes what the services have written from what it must follow from, with SQL and code of its
own: it shares the spec, the control tables' names, the object store and the quoting with them, and
none of the code that it audits. It changes nothing and may run beside the services; what is still
under way is told, and is no difference.
"""
