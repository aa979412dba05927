"""What migrations say of PostGIS's operators, each time they run.

An update of the extension makes its functions anew, and a dump does not say what was declared of
them. So it is declared whenever a database is brought up to date; `0007` gives the reason.
"""

LEAKPROOF = """
DO $$
BEGIN
    IF to_regtype('geography') IS NULL THEN
        RETURN;
    END IF;
    ALTER FUNCTION geometry_overlaps(geometry, geometry) LEAKPROOF;
    ALTER FUNCTION geography_overlaps(geography, geography) LEAKPROOF;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE WARNING 'only a superuser may declare the operator && leakproof; until one does, '
        'spatial queries read every place of a tenant';
END $$;
"""
